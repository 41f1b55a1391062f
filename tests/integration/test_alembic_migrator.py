"""The Alembic migrator with the real Alembic against a real PostgreSQL."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import time

import psycopg
import pytest

from tasks.adapters.host import LocalHost
from tasks.domain.errors import CommandFailed, LockNotGranted, Refused, TimedOut
from tasks.domain.release import MARKER
from tasks.domain.target import Target
from tasks.migrators import Limits
from tasks.migrators.alembic import Alembic
from tests.flows import wait_until

# Each look at the database starts Alembic anew, which takes its time on a busy machine.
pytestmark = pytest.mark.timeout(600)

ENV = """
import os
from alembic import context
from sqlalchemy import create_engine, pool

engine = create_engine(os.environ["DATABASE_URL"], poolclass=pool.NullPool)
with engine.connect() as connection:
    context.configure(connection=connection, transaction_per_migration=True)
    with context.begin_transaction():
        context.run_migrations()
"""
LIMITS = Limits(wait="100ms", tries=2, duration="20s")


@pytest.fixture
def revise(tmp_path):
    """Writes a revision into a release with Alembic's usual layout."""
    versions = tmp_path / "app" / "migrations" / "versions"
    versions.mkdir(parents=True)
    (tmp_path / "app" / "alembic.ini").write_text("[alembic]\nscript_location = %(here)s/migrations\n")
    (versions.parent / "env.py").write_text(ENV)

    def _revise(name, parent, up="pass", down="pass"):
        ups, downs = (text if text.startswith(("pass", "raise")) else f"op.execute({text!r})" for text in (up, down))
        (versions / f"{name}.py").write_text(
            f'"""Revision {name}.\n\nRev: not this one\n"""\nfrom alembic import op\n'
            f"revision = {name!r}\ndown_revision = {parent!r}\nbranch_labels = None\ndepends_on = None\n\n"
            f"def upgrade():\n    {ups}\n\n\ndef downgrade():\n    {downs}\n"
        )

    return _revise


@pytest.fixture
def chain(revise):
    revise("a1", None, "CREATE TABLE orders (id int)", "DROP TABLE orders")
    revise("b2", "a1", "ALTER TABLE orders ADD total int", "ALTER TABLE orders DROP total")
    revise("c3", "b2", "SELECT count(*), pg_sleep(0.3) FROM orders; LOCK orders; SELECT pg_sleep(0.3)", "SELECT 1")


@pytest.fixture
def target(world, database, tmp_path):
    return Target(world=world, system="shop", version="2.0", dsn=database, release_dir=tmp_path)


@pytest.fixture
def migrator():
    return Alembic(directory="app", dsn_scheme="postgresql+psycopg", limits=LIMITS)


@pytest.fixture
def psql(database):
    with psycopg.connect(database, autocommit=True) as connection:
        yield lambda sql: connection.execute(sql)


class Noting(LocalHost):
    """A host that notes what Alembic was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def run(self, command):
        self.asked.append(command.argv[3])
        return super().run(command)


def test_alembic_is_asked_once_for_the_revisions_of_a_release_that_stays_as_it_is(target, chain, migrator):
    for marker, times in (("", 2), ("{}", 1), ('{"identity": "another"}', 1)):
        if marker:
            (target.release_dir / MARKER).write_text(marker)
        host = Noting()
        at = target.at(world=dataclasses.replace(target.world, host=host))
        assert migrator.pending(at) == migrator.pending(at) == ["a1", "b2", "c3"]
        assert host.asked.count("history") == times


def test_revisions_are_applied_in_order_up_to_the_head_and_taken_back(target, chain, migrator, psql):
    assert migrator.pending(target) == ["a1", "b2", "c3"]
    up = migrator.upgrade(target)
    assert up.applied == ("a1", "b2", "c3")
    assert not up.locks_exact
    assert up.notes == ()
    held = {(lock.relation, lock.mode): lock.held for lock in up.locks}
    assert held["public.orders", "AccessExclusiveLock"] > 0.2
    assert migrator.pending(target) == []
    assert migrator.upgrade(target).applied == ()
    down = migrator.downgrade(target, ["b2", "c3"])
    assert down.applied == ("c3", "b2")
    assert migrator.pending(target) == ["b2", "c3"]
    assert migrator.downgrade(target, ["b2", "c3"]).applied == ()
    assert migrator.downgrade(target, ["a1"]).applied == ("a1",)
    assert psql("SELECT to_regclass('orders')").fetchone() == (None,)


def test_a_revision_may_be_named_by_the_beginning_of_its_id(target, chain, revise, migrator):
    revise("b2ef5678", "c3")
    revise("d4", "b2ef5678")
    migrator = migrator.model_copy(update={"revision": "b2ef"})
    assert migrator.upgrade(target).applied == ("a1", "b2", "c3", "b2ef5678")


@pytest.mark.parametrize("revision", ["-x", "head; ls", "", "../a"])
def test_a_revision_is_no_option_and_no_command(revision):
    with pytest.raises(ValueError, match="revision"):
        Alembic(revision=revision)


def test_more_than_one_head_is_refused(target, chain, revise, migrator):
    revise("d4", "b2")
    with pytest.raises(Refused, match=r"2 heads: (c3, d4|d4, c3)"):
        migrator.upgrade(target)
    both = migrator.model_copy(update={"revision": "heads"})
    assert set(both.upgrade(target).applied) == {"a1", "b2", "c3", "d4"}
    assert both.pending(target) == []
    with pytest.raises(Refused, match="builds on b2"):
        both.downgrade(target, ["b2", "c3"])


def test_a_revision_that_fails_keeps_those_before_it_and_shows_alembics_words(target, revise, migrator):
    revise("a1", None, "CREATE TABLE orders (id int)")
    revise("b2", "a1", "ALTER TABLE missing ADD a int")
    with pytest.raises(CommandFailed, match='relation "missing" does not exist') as caught:
        migrator.upgrade(target)
    assert caught.value.where == "alembic upgrade head, migrations/versions/b2.py:12"
    assert migrator.pending(target) == ["b2"]


def test_a_database_that_is_ahead_of_the_release_is_refused(target, chain, migrator, tmp_path):
    migrator.upgrade(target)
    (tmp_path / "app/migrations/versions/c3.py").unlink()
    with pytest.raises(CommandFailed, match="c3"):
        migrator.pending(target)


def test_the_password_is_not_shown_when_alembic_fails(target, chain, migrator, tmp_path):
    (tmp_path / "app/migrations/env.py").write_text(
        "import os\nraise SystemExit('cannot use ' + os.environ['DATABASE_URL'])"
    )
    password = str(psycopg.conninfo.conninfo_to_dict(target.dsn)["password"])
    with pytest.raises(CommandFailed, match="cannot use") as caught:
        migrator.pending(target)
    assert password not in str(caught.value)


def test_a_lock_that_is_not_granted_is_tried_again_and_then_given_up(target, chain, migrator, psql, database):
    migrator.model_copy(update={"revision": "a1"}).upgrade(target)
    lines: list[str] = []
    watched = target.at(world=dataclasses.replace(target.world, progress=lines.append))
    with psycopg.connect(database) as holder:
        holder.execute("SELECT count(*) FROM orders")
        with pytest.raises(LockNotGranted, match="on each of 2 tries"):
            migrator.upgrade(watched)
    assert len(lines) == 1
    assert migrator.pending(target) == ["b2", "c3"]


def test_a_lock_that_is_freed_meanwhile_is_taken_on_a_later_try(target, chain, migrator, database):
    migrator.model_copy(update={"revision": "a1"}).upgrade(target)
    with psycopg.connect(database) as holder:
        holder.execute("SELECT count(*) FROM orders")
        watched = target.at(world=dataclasses.replace(target.world, progress=lambda _line: holder.rollback()))
        migrated = migrator.upgrade(watched)
    assert migrated.tries == 2
    assert migrated.applied == ("b2", "c3")


@pytest.mark.parametrize("options", ["", "?options=-c%20work_mem%3D5MB&application_name=shop"])
def test_a_statement_that_takes_too_long_is_ended_whatever_options_the_url_holds(target, revise, migrator, options):
    revise("a1", None, "SELECT pg_sleep(30)")
    hasty = migrator.model_copy(update={"limits": Limits(duration="500ms")})
    began = time.monotonic()
    with pytest.raises(TimedOut):
        hasty.upgrade(target.at(dsn=target.dsn + options))
    assert time.monotonic() - began < 20


def test_a_session_that_a_killed_run_left_at_work_is_not_joined_by_another(target, chain, migrator, database):
    with (
        psycopg.connect(database, application_name="golive migration 0123abcd") as left,
        pytest.raises(Refused, match=rf"pid {left.info.backend_pid} \(golive migration 0123abcd"),
    ):
        migrator.upgrade(target)


@pytest.mark.parametrize(
    ("up", "down", "way_back"),
    [
        ("CREATE TABLE a ()", "DROP TABLE a", True),
        ("CREATE TABLE a ()", "pass", False),
        ("CREATE TABLE a ()", "raise NotImplementedError", False),
        ("pass", "pass", True),
    ],
)
def test_there_is_a_way_back_only_where_downgrade_does_something(target, chain, revise, migrator, up, down, way_back):
    migrator.upgrade(target)
    revise("d4", "c3", up, down)
    assert migrator.can_downgrade(target) is way_back
    migrator.upgrade(target)
    assert migrator.can_downgrade(target) is way_back


def test_a_driver_that_ignores_the_limits_is_refused_before_anything_is_migrated(target, chain, migrator, tmp_path):
    migrator.require_possible(target)
    # As asyncpg does, which reads none of libpq's variables.
    (tmp_path / "app/migrations/env.py").write_text(ENV.replace("import os", "import os; os.environ.pop('PGOPTIONS')"))
    with pytest.raises(Refused, match="no lock_timeout would be in force") as caught:
        migrator.require_possible(target)
    assert "server_settings" in caught.value.do
    migrator.model_copy(update={"lock_timeout_by": "release"}).require_possible(target)


def test_the_fingerprint_follows_revisions_settings_and_limits(target, chain, revise, migrator, tmp_path):
    seen = {migrator.fingerprint(target)}
    assert migrator.fingerprint(target) in seen
    revise("c3", "b2", "SELECT 2")
    seen.add(migrator.fingerprint(target))
    (tmp_path / "app/migrations/env.py").write_text(ENV + "\n")
    seen.add(migrator.fingerprint(target))
    (tmp_path / "app/alembic.ini").write_text("[alembic]\nscript_location = %(here)s/migrations\n\n")
    seen.add(migrator.fingerprint(target))
    (tmp_path / "app/pyproject.toml").write_text("[tool.alembic]\nprepend_sys_path = ['.']\n")
    seen.add(migrator.fingerprint(target))
    seen.add(migrator.model_copy(update={"limits": Limits(tries=7)}).fingerprint(target))
    assert len(seen) == 6


UPGRADE = """
import os, pathlib
from tasks.context import world
from tasks.domain.target import Target
from tasks.migrators.alembic import Alembic

release = pathlib.Path(os.environ["RELEASE"])
target = Target(world=world(), system="shop", version="2.0", dsn=os.environ["DSN"], release_dir=release)
Alembic(directory="app", dsn_scheme="postgresql+psycopg").upgrade(target)
"""


def test_killed_between_two_revisions_golive_goes_on_and_runs_each_once(target, revise, migrator, psql):
    # Each tells that it has run; the second then waits, of which nothing stays, until the gate is open.
    waits = "DO $$ BEGIN WHILE EXISTS (SELECT FROM gate) LOOP PERFORM pg_sleep(0.05); END LOOP; END $$"
    psql("CREATE TABLE ran (name text); CREATE TABLE gate AS SELECT 1")
    for name, parent in (("a1", None), ("b2", "a1"), ("c3", "b2")):
        revise(name, parent, f"INSERT INTO ran VALUES ('{name}')" + (f"; {waits}" if name == "b2" else ""))
    at_work = "FROM pg_stat_activity WHERE application_name LIKE 'golive migra%' AND datname = current_database()"
    env = {**os.environ, "RELEASE": str(target.release_dir), "DSN": target.dsn}
    with subprocess.Popen([sys.executable, "-c", UPGRADE], env=env) as golive:
        try:
            asleep = f"SELECT 1 {at_work} AND wait_event = 'PgSleep'"
            wait_until(lambda: golive.poll() is not None or psql(asleep).fetchone(), 120)
        finally:
            golive.kill()
    # Its Alembic ends too, as where all processes of a service are killed.
    psql(f"SELECT pg_terminate_backend(pid) {at_work}")
    wait_until(lambda: not psql(f"SELECT 1 {at_work}").fetchone(), 60)
    psql("DELETE FROM gate")
    assert psql("SELECT version_num, array(SELECT name FROM ran) FROM alembic_version").fetchall() == [("a1", ["a1"])]
    assert migrator.upgrade(target).applied == ("b2", "c3")
    assert psql("SELECT array(SELECT name FROM ran ORDER BY 1), version_num FROM alembic_version").fetchall() == [
        (["a1", "b2", "c3"], "c3")
    ]
