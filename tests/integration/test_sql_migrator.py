"""The migrator of SQL files against a real PostgreSQL."""

from __future__ import annotations

import dataclasses
import secrets
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from psycopg.conninfo import make_conninfo
from sqlalchemy import MetaData, create_engine

from tasks.domain.errors import ConnectionLost, Fenced, LockNotGranted, Refused, SqlFailed, TimedOut
from tasks.domain.fingerprint import change_counters, fingerprint
from tasks.domain.target import Target
from tasks.domain.turn import Turn
from tasks.migrators import Limits, fence_off, only_runner
from tasks.migrators._fence import Fence
from tasks.migrators.sql import Sql

END_LOCK = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name LIKE %s"
LIMITS = Limits(wait="100ms", tries=3, duration="20s")


@pytest.fixture
def target(world, database, tmp_path):
    (tmp_path / "migrations").mkdir()
    return Target(world=world, system="shop", version="2.0", dsn=database, release_dir=tmp_path)


@pytest.fixture
def write(tmp_path):
    def _write(**files):
        for name, text in files.items():
            (tmp_path / "migrations" / f"{name.replace('_down', '.down')}.sql").write_text(text)

    return _write


@pytest.fixture
def migrator():
    return Sql(files=("migrations/*.sql",), limits=LIMITS)


@pytest.fixture
def psql(database):
    with psycopg.connect(database, autocommit=True) as connection:
        yield lambda sql, *params: connection.execute(sql, params or None)


def relations(psql: Any) -> set[str]:
    sql = "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'i', 'v')"
    return {row[0] for row in psql(sql)}


@contextmanager
def reader(database, table="orders"):
    """Another session that has read the table and keeps its transaction, and so ACCESS SHARE, open."""
    with psycopg.connect(database, application_name="long report") as connection:
        connection.execute(f"SELECT count(*) FROM {table}")
        yield connection


def test_files_are_applied_once_and_in_the_order_of_their_numbers(target, write, migrator, psql):
    write(
        a10="INSERT INTO t VALUES (10);",
        a9="CREATE TABLE t (a int); INSERT INTO t VALUES (9);",
        a11="INSERT INTO t VALUES (11);",
    )
    names = [f"migrations/a{n}.sql" for n in (9, 10, 11)]
    assert migrator.pending(target) == names
    first = migrator.upgrade(target)
    assert list(first.applied) == names
    assert first.locks_exact
    assert migrator.pending(target) == []
    assert migrator.upgrade(target).applied == ()
    assert [row[0] for row in psql("SELECT a FROM t")] == [9, 10, 11]
    rows = psql("SELECT name, length(sha256), took >= 0, applied_by_version FROM golive_migrations").fetchall()
    assert rows == [(name, 64, True, "2.0") for name in names]


def test_a_percent_sign_and_every_quoting_reach_the_server_as_written(target, write, migrator, psql):
    write(a="CREATE TABLE t AS SELECT '100 %s; %' AS a, $q$;%$q$ AS b, E'\\';' AS c;")
    migrator.upgrade(target)
    assert psql("SELECT a, b, c FROM t").fetchone() == ("100 %s; %", ";%", "';")


def test_the_table_of_applied_files_may_have_any_name(target, write, psql):
    write(a='CREATE SCHEMA "Own ""S";', a_down='DROP SCHEMA "Own ""S";')
    migrator = Sql(files=("migrations/*.sql",), table_schema='Own "S', table="Done; --", limits=LIMITS)
    assert migrator.upgrade(target).applied == ("migrations/a.sql",)
    assert psql('SELECT count(*) FROM "Own ""S"."Done; --"').fetchone() == (1,)
    assert migrator.pending(target) == []
    migrator.downgrade(target, ["migrations/a.sql"])
    assert migrator.pending(target) == ["migrations/a.sql"]


def test_a_syntax_error_names_file_and_line_and_nothing_of_the_file_is_applied(target, write, migrator, psql):
    write(a="CREATE TABLE a ();", b="-- two\nCREATE TABLE b ();\n\nSELECT 1,\n  2 FRM b;\n")
    with pytest.raises(SqlFailed) as caught:
        migrator.upgrade(target)
    assert caught.value.where == "migrations/b.sql:5"
    assert caught.value.sqlstate == "42601"
    assert "a" in relations(psql)
    assert "b" not in relations(psql)
    assert migrator.pending(target) == ["migrations/b.sql"]


def test_an_error_at_the_commit_names_the_file(target, write, migrator, psql):
    write(a="CREATE TABLE t (a int UNIQUE DEFERRABLE INITIALLY DEFERRED); INSERT INTO t VALUES (1), (1);")
    with pytest.raises(SqlFailed) as caught:
        migrator.upgrade(target)
    assert caught.value.where == "migrations/a.sql, at its end"
    assert relations(psql) == set()


@pytest.mark.parametrize("bad", ["", "SELECT 'a", "BEGIN; SELECT 1; COMMIT;", "\\i other.sql"])
def test_a_file_that_cannot_be_run_stops_all_before_anything_ran(target, write, migrator, psql, bad):
    write(a="CREATE TABLE a ();", b=bad)
    with pytest.raises((Refused, SqlFailed), match=r"migrations/b\.sql"):
        migrator.upgrade(target)
    assert relations(psql) == set()


def test_a_missing_file_stops_all_before_anything_ran(target, write, psql):
    write(a="CREATE TABLE a ();")
    with pytest.raises(Refused, match="no such file"):
        Sql(files=("migrations/a.sql", "migrations/b.sql")).upgrade(target)
    assert relations(psql) == set()


@pytest.mark.parametrize("path", ["/etc/a.sql", "../a.sql", "a/../../b.sql", "**/a.sql", ""])
def test_a_path_cannot_lead_out_of_the_release(path):
    with pytest.raises(ValueError, match="not a path within the release"):
        Sql(files=(path,))


def test_a_changed_file_that_was_applied_is_refused_with_both_hashes(target, write, migrator):
    write(a="CREATE TABLE a ();")
    migrator.upgrade(target)
    before = migrator.fingerprint(target)
    write(a="CREATE TABLE a (b int);", b="CREATE TABLE b ();")
    with pytest.raises(Refused, match=r"^migrations/a\.sql: .* was [0-9a-f]{64} and is [0-9a-f]{64}"):
        migrator.pending(target)
    with pytest.raises(Refused, match="put the file back"):
        migrator.upgrade(target)
    assert migrator.fingerprint(target) != before


def test_up_and_down_leaves_the_schema_as_it_was(target, write, migrator, psql):
    psql("CREATE TABLE orders (id int)")
    write(
        a1="ALTER TABLE orders ADD total int;",
        a1_down="ALTER TABLE orders DROP total;",
        a2="CREATE VIEW totals AS SELECT total FROM orders;",
        a2_down="DROP VIEW totals;",
    )
    assert migrator.can_downgrade(target)
    names = migrator.pending(target)
    migrator.upgrade(target)
    assert {"totals", "golive_migrations"} <= relations(psql)
    assert migrator.can_downgrade(target)
    down = migrator.downgrade(target, names)
    assert list(down.applied) == names[::-1]
    assert relations(psql) == {"orders"}
    assert migrator.downgrade(target, names).applied == ()
    assert list(migrator.upgrade(target).applied) == names


def test_there_is_no_way_back_without_a_down_file_for_each_file_of_this_version(target, write, migrator):
    write(a="CREATE TABLE a ();")
    migrator.upgrade(target.at(version="1.0"))
    write(b="CREATE TABLE b ();", b_down="DROP TABLE b;")
    assert migrator.can_downgrade(target)
    write(c="CREATE TABLE c ();")
    assert not migrator.can_downgrade(target)
    migrator.upgrade(target)
    assert not migrator.can_downgrade(target)
    with pytest.raises(Refused, match=r"c\.down\.sql"):
        migrator.downgrade(target, ["migrations/b.sql", "migrations/c.sql"])
    assert migrator.pending(target) == []


def test_ways_back_may_be_named_one_by_one(target, write, psql):
    write(a="CREATE TABLE a ();", undo="DROP TABLE a;")
    migrator = Sql(files=("migrations/*.sql",), down=("migrations/undo.sql",))
    assert migrator.upgrade(target).applied == ("migrations/a.sql",)
    assert migrator.downgrade(target, ["migrations/a.sql"]).applied == ("migrations/a.sql",)
    assert relations(psql) == set()
    write(b="CREATE TABLE b ();")
    with pytest.raises(Refused, match="1 ways back for 2 files"):
        migrator.pending(target)


def test_a_name_that_is_no_file_of_the_release_is_refused(target, write, migrator):
    write(a="CREATE TABLE a ();", a_down="DROP TABLE a;")
    migrator.upgrade(target)
    with pytest.raises(Refused, match=r"b\.sql"):
        migrator.downgrade(target, ["migrations/a.sql", "migrations/b.sql"])
    assert migrator.pending(target) == []


def test_a_lock_that_is_not_granted_blocks_others_no_longer_than_the_wait(target, write, migrator, psql, database):
    psql("CREATE TABLE orders (id int)")
    write(a="SELECT 1;\nALTER TABLE orders ADD total int;")
    waits, ended = [], threading.Event()

    def read_on():
        with psycopg.connect(database, autocommit=True) as connection:
            while not ended.is_set():
                began = time.monotonic()
                connection.execute("SELECT count(*) FROM orders")
                waits.append(time.monotonic() - began)
                ended.wait(0.005)

    others = threading.Thread(target=read_on)
    with reader(database):
        others.start()
        try:
            with pytest.raises(LockNotGranted) as caught:
                migrator.upgrade(target)
        finally:
            ended.set()
            others.join()
    assert caught.value.where == "migrations/a.sql:2"
    assert "on each of 3 tries" in caught.value.seen
    assert "long report, idle in transaction" in caught.value.do
    assert max(waits) > 0.015, "the readers were never queued behind the migration"
    assert max(waits) < LIMITS.wait + 0.4
    assert sorted(waits)[len(waits) // 2] < 0.05, "between the tries readers pass"
    assert migrator.pending(target) == ["migrations/a.sql"]


def test_a_lock_that_is_freed_meanwhile_is_taken_on_a_later_try(target, write, migrator, psql, database):
    psql("CREATE TABLE orders (id int)")
    write(a="ALTER TABLE orders ADD total int;")
    lines = []

    def progress(line):
        lines.append(line)
        if "try 1 of 3" in line:
            holder.rollback()

    patient = target.at(world=dataclasses.replace(target.world, progress=progress))
    with reader(database) as holder:
        migrated = migrator.upgrade(patient)
    assert migrated.tries == 2
    assert migrated.applied == ("migrations/a.sql",)
    assert any("try 1 of 3" in line for line in lines)


def test_other_errors_are_not_tried_again(target, write, migrator):
    write(a="ALTER TABLE missing ADD a int;")
    began = time.monotonic()
    with pytest.raises(SqlFailed, match="missing") as caught:
        migrator.upgrade(target)
    assert caught.value.sqlstate == "42P01"
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("statements", ["SELECT pg_sleep(30);", "SELECT pg_sleep(0.3);\n" * 3])
def test_a_migration_that_takes_too_long_is_ended(target, write, psql, statements):
    write(a=f"CREATE TABLE a ();\n{statements}")
    began = time.monotonic()
    with pytest.raises(TimedOut, match=r"a\.sql:[234]"):
        Sql(files=("migrations/*.sql",), limits=Limits(duration="500ms")).upgrade(target)
    assert time.monotonic() - began < 5
    assert relations(psql) == set()


def test_the_lock_meter_sees_every_lock_from_its_statement_to_the_commit(target, write, migrator, psql):
    psql("CREATE TABLE orders (id int PRIMARY KEY, note text)")
    psql("CREATE TABLE clients (id int PRIMARY KEY)")
    psql("CREATE TABLE old (id int)")
    psql("CREATE VIEW notes AS SELECT note FROM orders")
    write(
        a="""
        ALTER TABLE orders ADD client int;
        SELECT pg_sleep(0.2);
        ALTER TABLE orders ADD FOREIGN KEY (client) REFERENCES clients;
        CREATE INDEX ON clients (id);
        CREATE TABLE fresh (id int REFERENCES clients);
        UPDATE orders SET note = 'a';
        DROP TABLE old;
        CREATE OR REPLACE VIEW notes AS SELECT note, client FROM orders;
        SELECT pg_sleep(0.3);
        """
    )
    migrated = migrator.upgrade(target)
    held = {(lock.relation, lock.mode): lock.held for lock in migrated.locks}
    assert migrated.locks_exact
    assert set(held) == {
        ("public.orders", "AccessExclusiveLock"),
        ("public.orders", "ShareRowExclusiveLock"),
        ("public.orders", "RowExclusiveLock"),
        ("public.orders", "AccessShareLock"),
        ("public.clients", "AccessShareLock"),
        ("public.clients", "RowShareLock"),
        ("public.clients", "ShareRowExclusiveLock"),
        ("public.clients", "ShareLock"),
        ("public.old", "AccessExclusiveLock"),
        ("public.notes", "AccessExclusiveLock"),
    } | (set(held) & {("public.notes", "AccessShareLock")})
    assert 0.5 <= held["public.orders", "AccessExclusiveLock"] < 1.5
    assert 0.3 <= held["public.clients", "ShareLock"] < held["public.orders", "AccessExclusiveLock"] - 0.19
    assert max(held.values()) <= migrated.took


def test_a_file_without_transaction_builds_an_index_that_blocks_nobody(target, write, migrator, psql, database):
    psql("CREATE TABLE orders AS SELECT generate_series(1, 100) AS id")
    write(
        a="-- golive: no transaction\nSET maintenance_work_mem = '8MB';\n"
        "CREATE INDEX CONCURRENTLY orders_id ON orders (id);\nVACUUM orders;"
    )
    with reader(database) as holder:
        # It waits for the writer for longer than the lock budget, and no lock_timeout ends it.
        holder.execute("UPDATE orders SET id = 0 WHERE id = 1")
        freed = threading.Timer(0.8, holder.commit)
        freed.start()
        migrated = migrator.upgrade(target)
        freed.join()
    assert migrated.applied == ("migrations/a.sql",)
    assert migrated.tries == 1
    assert not migrated.locks_exact
    assert ("public.orders", "ShareUpdateExclusiveLock") in {(lock.relation, lock.mode) for lock in migrated.locks}
    assert psql("SELECT indisvalid FROM pg_index WHERE indexrelid = 'orders_id'::regclass").fetchone() == (True,)
    assert migrator.pending(target) == []


def test_an_invalid_index_from_an_earlier_try_is_dropped_and_built_again(target, write, migrator, psql):
    psql("CREATE TABLE orders AS SELECT 1 AS id FROM generate_series(1, 2)")
    write(
        a="-- golive: no transaction\nSELECT 1;\n"
        'CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS "Orders id" ON public.orders (id);'
    )
    with pytest.raises(SqlFailed, match="repeated") as caught:
        migrator.upgrade(target)
    assert caught.value.sqlstate == "23505"
    assert caught.value.where == "migrations/a.sql:3"
    assert psql("SELECT indisvalid FROM pg_index WHERE indexrelid = '\"Orders id\"'::regclass").fetchone() == (False,)
    psql("DELETE FROM orders WHERE ctid = '(0,1)'")
    migrated = migrator.upgrade(target)
    assert 'dropped public."Orders id"' in migrated.notes[0]
    assert psql("SELECT indisvalid FROM pg_index WHERE indexrelid = '\"Orders id\"'::regclass").fetchone() == (True,)


def test_a_file_that_needs_to_run_without_a_transaction_is_told_how(target, write, migrator, psql):
    psql("CREATE TABLE orders (id int)")
    write(a="CREATE INDEX CONCURRENTLY orders_id ON orders (id);")
    with pytest.raises(SqlFailed, match="-- golive: no transaction"):
        migrator.upgrade(target)


def test_what_cannot_run_in_a_transaction_runs_without_one_and_else_is_told_how(target, write, migrator, psql):
    psql("CREATE TABLE orders AS SELECT generate_series(1, 10) AS id")
    psql("CREATE INDEX orders_old ON orders (id)")
    psql("CREATE INDEX orders_id ON orders (id)")
    psql("CREATE TYPE colour AS ENUM ('red')")
    for statement in ("VACUUM orders", "DROP INDEX CONCURRENTLY orders_old", "REINDEX TABLE CONCURRENTLY orders"):
        write(a=f"SELECT 1; {statement};")
        with pytest.raises(SqlFailed, match="-- golive: no transaction"):
            migrator.upgrade(target)
    write(a="ALTER TYPE colour ADD VALUE 'blue'; SELECT 'blue'::colour;")
    with pytest.raises(SqlFailed, match="a file of its own"):
        migrator.upgrade(target)
    write(
        a="-- golive: no transaction\nDROP INDEX CONCURRENTLY IF EXISTS orders_old;\n"
        "REINDEX (VERBOSE) TABLE CONCURRENTLY public.orders;\nREINDEX INDEX CONCURRENTLY orders_id;\n"
        "VACUUM (ANALYZE) orders;\nALTER TYPE colour ADD VALUE IF NOT EXISTS 'blue';",
        b="SELECT 'blue'::colour;",
    )
    assert migrator.upgrade(target).applied == ("migrations/a.sql", "migrations/b.sql")
    assert {"orders_id"} == {name for name in relations(psql) if name.startswith("orders_")}


@pytest.mark.parametrize("what", ["INDEX CONCURRENTLY orders_id", "TABLE CONCURRENTLY orders"])
def test_what_an_interrupted_reindex_has_left_is_dropped(target, write, migrator, psql, what):
    psql("CREATE TABLE orders AS SELECT 1 AS id FROM generate_series(1, 2)")
    # As PostgreSQL names and leaves the copy: invalid, because it could not be built.
    with pytest.raises(psycopg.errors.UniqueViolation):
        psql("CREATE UNIQUE INDEX CONCURRENTLY orders_id_ccnew ON orders (id)")
    psql("CREATE INDEX orders_id ON orders (id)")
    write(a=f"-- golive: no transaction\nREINDEX {what};")
    migrated = migrator.upgrade(target)
    assert "dropped public.orders_id_ccnew" in migrated.notes[0]
    assert "orders_id_ccnew" not in relations(psql)


def test_a_file_that_stopped_midway_is_begun_until_it_is_ended_or_taken_back(target, write, migrator, psql):
    half = "-- golive: no transaction\nCREATE TABLE IF NOT EXISTS a ();\nSELECT {};"
    write(a=half.format("1 / 0"), a_down="DROP TABLE IF EXISTS a;", b="SELECT 1;")
    with pytest.raises(SqlFailed, match="22012"):
        migrator.upgrade(target)
    assert migrator.begun(target) == ["migrations/a.sql"]
    assert migrator.pending(target) == ["migrations/a.sql", "migrations/b.sql"]
    assert migrator.downgrade(target, ["migrations/a.sql"]).applied == ("migrations/a.sql",)
    assert relations(psql) == set()
    with pytest.raises(SqlFailed, match="22012"):
        migrator.upgrade(target)
    write(a=half.format("1"))
    assert migrator.upgrade(target).applied == ("migrations/a.sql", "migrations/b.sql")
    assert (migrator.begun(target), migrator.pending(target)) == ([], [])


def test_a_file_whose_first_statement_was_refused_has_not_begun(target, write, migrator, psql, database):
    psql("CREATE TABLE orders (id int)")
    write(a="-- golive: no transaction\nALTER TABLE orders ADD total int;")
    with reader(database), pytest.raises(LockNotGranted):
        migrator.upgrade(target)
    assert migrator.begun(target) == []
    assert relations(psql) == {"orders"}


def test_one_statement_may_be_given_less_than_the_whole(target, write, psql):
    write(a="SELECT pg_sleep(0.2);\nSELECT pg_sleep(0.2);\nSELECT pg_sleep(30);")
    with pytest.raises(TimedOut, match=r"a\.sql:3"):
        Sql(files=("migrations/*.sql",), limits=Limits(duration="60s", statement="1s")).upgrade(target)


def test_of_two_runners_at_once_each_file_is_applied_by_one(target, write, migrator, psql):
    write(a="CREATE TABLE t (a int); SELECT pg_sleep(0.3);", b="INSERT INTO t VALUES (1); SELECT pg_sleep(0.3);")
    with ThreadPoolExecutor(2) as pool:
        runs = [run.result() for run in [pool.submit(migrator.upgrade, target) for _ in range(2)]]
    assert sorted(len(run.applied) for run in runs) == [0, 2]
    assert psql("SELECT count(*) FROM t").fetchone() == (1,)


def turn(target, epoch, release="shop-1"):
    return target.at(turn=Turn(release, datetime(2026, 11, 22, tzinfo=UTC), epoch, lambda: None))


def test_a_process_that_lost_its_lock_between_two_files_stops_there(target, write, migrator, psql):
    """Whoever ended its session has taken over: the lock is free, and the ledger need not have said so."""
    write(a="CREATE TABLE a ();", b="-- golive: no transaction\nCREATE TABLE b ();", c="CREATE TABLE c ();")
    for stop_at in ("b", "c"):

        def lose(line, stop_at=stop_at):
            if line.startswith(f"migrations/{stop_at}.sql"):
                psql(END_LOCK, "golive migration lock %")

        with pytest.raises(ConnectionLost):
            migrator.upgrade(turn(target.at(world=dataclasses.replace(target.world, progress=lose)), 1))
        assert stop_at in {name.removeprefix("migrations/")[0] for name in migrator.pending(target)}
        assert stop_at not in relations(psql)
    assert migrator.upgrade(turn(target, 2)).applied == ("migrations/c.sql",)


def test_nobody_gets_a_turn_while_a_transaction_of_another_is_open(target, world, database):
    with only_runner(turn(target, 1)) as fence, world.databases.session(database) as session:
        with (
            session.transaction(),
            world.databases.session(database, lock_timeout=0.1) as other,
        ):
            fence.hold(session)
            with pytest.raises(LockNotGranted):
                Fence(other, turn(target, 2)).raise_()
        fence_off(turn(target, 2))
        with pytest.raises(Fenced), session.transaction():
            fence.hold(session)
        with pytest.raises(Fenced):
            fence.require()


def test_the_fence_is_golives_own_and_counts_in_no_comparison(target, world, database, write, migrator):
    write(a="CREATE TABLE a ();", a_down="DROP TABLE a;")

    def seen():
        with world.databases.session(database) as session:
            version = session.server_version
            counted = fingerprint(session), change_counters(session).keys()
        return *counted, world.pg_tools.schema(database, server_version=version)

    before = seen()
    up = migrator.upgrade(turn(target, 1))
    migrator.downgrade(turn(target, 1), up.applied)
    assert seen() == before
    assert not any("fence" in lock.relation for lock in up.locks)


def test_a_tool_that_compares_tables_with_models_does_not_meet_the_fence(target, database):
    fence_off(turn(target, 1))
    engine = create_engine(database.replace("postgresql://", "postgresql+psycopg://"))
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), MetaData()) == []
    engine.dispose()


def test_without_the_right_to_make_a_schema_the_fence_lies_beside_the_tables(target, database, psql):
    role = f"modest_{secrets.token_hex(4)}"
    psql(f"CREATE ROLE {role} LOGIN PASSWORD 'modest'")
    psql(f"GRANT CREATE ON SCHEMA public TO {role}")
    try:
        modest = target.at(dsn=make_conninfo(database, user=role, password="modest"))
        fence_off(turn(modest, 2))
        assert psql("SELECT epoch FROM public.golive_fence").fetchone() == (2,)
        with pytest.raises(Fenced, match="epoch 2"):
            fence_off(turn(modest, 1))
    finally:
        psql(f"DROP OWNED BY {role}")
        psql(f"DROP ROLE {role}")


def test_the_settings_of_one_file_do_not_reach_the_next(target, write, migrator, psql):
    role = f"nobody_{secrets.token_hex(4)}"
    psql(f"CREATE ROLE {role}")
    try:
        write(
            a1=f"SELECT pg_catalog.set_config('search_path', '', false); SET ROLE {role};",
            a2="CREATE TABLE t ();",
        )
        migrator.upgrade(target)
        assert "t" in relations(psql)
    finally:
        psql(f"DROP ROLE {role}")


def test_a_second_runner_is_refused_and_told_who_the_first_is(target, write, migrator, database):
    write(a="SELECT 1;")
    with psycopg.connect(database, autocommit=True, application_name="golive migration lock shop 1.9") as other:
        other.execute("SELECT pg_advisory_lock(%s)", (int.from_bytes(b"golive", "big"),))
        with pytest.raises(Refused) as caught:
            migrator.upgrade(target)
        assert f"pid {other.info.backend_pid} (golive migration lock shop 1.9" in caught.value.seen
        assert "since 20" in caught.value.seen
    assert migrator.upgrade(target).applied == ("migrations/a.sql",)


RUNNER = """
import sys
from pathlib import Path
from types import SimpleNamespace
from tasks.adapters.host import LocalHost
from tasks.adapters.postgres import Postgres
from tasks.domain.target import Target
from tasks.migrators.sql import Sql
import time
clock = SimpleNamespace(monotonic=time.monotonic, sleep=time.sleep)
world = SimpleNamespace(clock=clock, host=LocalHost(), databases=Postgres(), progress=lambda line: None)
dsn = sys.stdin.readline().strip()
target = Target(world=world, system="shop", version="2.0", dsn=dsn, release_dir=Path(sys.argv[1]))
Sql(files=("migrations/*.sql",)).upgrade(target)
"""


def test_a_run_that_was_killed_is_resumed_where_it_stood(target, write, migrator, psql, tmp_path, database):
    write(a1="CREATE TABLE a ();", a2="CREATE TABLE b (); SELECT pg_sleep(100);", a3="CREATE TABLE c ();")
    process = subprocess.Popen([sys.executable, "-c", RUNNER, tmp_path], stdin=subprocess.PIPE, cwd=Path.cwd())
    assert process.stdin
    try:
        process.stdin.write(database.encode() + b"\n")
        process.stdin.close()
        asleep = "SELECT 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = current_database()"
        until = time.monotonic() + 60
        while not psql(asleep).fetchone():
            assert time.monotonic() < until
            time.sleep(0.05)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    write(a2="CREATE TABLE b ();")
    # The killed run's session notices within a second that nobody is there any more.
    migrated = migrator.upgrade(target)
    assert migrated.applied == ("migrations/a2.sql", "migrations/a3.sql")
    assert {"a", "b", "c"} <= relations(psql)


def test_a_migration_is_over_when_requests_may_be_held_back_no_longer(target, write, migrator, psql, database, world):
    psql("CREATE TABLE orders (id int)")
    clock = world.clock
    patient = migrator.model_copy(update={"limits": Limits(wait="100ms", tries=100, duration="60s")})
    write(a="ALTER TABLE orders ADD COLUMN a int;\nSELECT pg_sleep(0.4);\nSELECT pg_sleep(30);")
    with pytest.raises(TimedOut, match=r"a\.sql:\d"):
        patient.until(clock.monotonic() + 1.0).upgrade(target)
    with reader(database), pytest.raises((LockNotGranted, TimedOut)):
        patient.until(clock.monotonic() + 0.5).upgrade(target)
    with pytest.raises(TimedOut, match="held back for as long as they may"):
        patient.until(clock.monotonic() - 1).upgrade(target)
    assert migrator.fingerprint(target) != patient.fingerprint(target)
    assert patient.until(1.0).fingerprint(target) == patient.fingerprint(target)
    assert patient.limits.left(clock) > 1e9
