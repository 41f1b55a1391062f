from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tasks.checks.database import Database
from tasks.checks.index import Index
from tasks.checks.sql import Sql
from tasks.checks.table import Table
from tasks.checks.tools import Tools
from tasks.domain.errors import SqlFailed, TimedOut
from tasks.domain.ports import Session, World
from tasks.domain.target import Target
from tests.looks import F, P, U, look


@pytest.fixture
def target(world: World, database: str, tmp_path: Path) -> Target:
    return Target(world, "demo", "v2", dsn=database, root=tmp_path)


def test_a_query_cannot_change_anything(target, session):
    session.script("CREATE TABLE t (a int)")
    with pytest.raises(SqlFailed) as refused:
        look(Sql, target, query="INSERT INTO t VALUES (1) RETURNING a", equals=1)
    assert refused.value.sqlstate == "25006"


def test_a_query_that_takes_too_long_is_given_up(target):
    with pytest.raises(TimedOut):
        look(Sql, target, query="SELECT pg_sleep(5)", equals="", timeout="200ms")


def test_a_query_is_run_as_written_and_its_values_are_passed_apart(target):
    assert look(Sql, target, query="SELECT count(*) FROM pg_class WHERE relname LIKE 'pg%'", at_least=1).outcome is P
    injected = target.at(version="v2' OR 'x")
    reading = look(Sql, injected, query="SELECT %(version)s", params={"version": "{version}"}, equals="v2' OR 'x")
    assert reading.outcome is P


def test_offenders_are_counted_and_shown(target, session):
    session.script("CREATE TABLE t (a int); INSERT INTO t VALUES (1), (2)")
    assert look(Sql, target, query="SELECT a FROM t WHERE a > 2", rows=0).outcome is P
    reading = look(Sql, target, query="SELECT a FROM t", rows=0)
    assert (reading.outcome, reading.seen) == (F, '2 rows = 0 ({"a": 1}; {"a": 2})')


def test_no_row_is_unknown(target):
    assert look(Sql, target, query="SELECT 1 WHERE false", at_most=5).outcome is U
    assert look(Sql, target, query="SELECT max(oid::int) FROM pg_class WHERE false", at_most=5).outcome is U


def test_a_table_is_held_against_its_columns(target, session):
    session.script('CREATE SCHEMA "Big"; CREATE TABLE "Big".t (a varchar(20) NOT NULL, b timestamptz, c numeric(10,2))')
    columns = {"a": "character varying(20)", "b": "timestamp with time zone", "c": "numeric(10, 2)"}
    assert look(Table, target, table='"Big".t', columns=columns).outcome is P
    wrong = {
        "a": {"type": "varchar(30)", "nullable": True},
        "b": "timestamp",
        "c": "numeric",
        "d": None,
        "z": "no_type",
    }
    reading = look(Table, target, table='"Big".t', columns=wrong)
    assert reading.outcome is F
    for part in (
        "column a character varying(20) = varchar(30): failed",
        "column a is not null: failed",
        "column b timestamp with time zone = timestamp: failed",
        "column d is not there",
        "column z is not there",
    ):
        assert part in reading.seen
    assert "column c" not in reading.seen


def test_a_table_that_is_not_there_fails_and_one_that_must_be_gone_passes(target, session):
    assert look(Table, target, table="none").seen == "none is not there"
    assert look(Table, target, table="none").outcome is F
    assert look(Table, target, table="none", exists=False).outcome is P
    session.script("CREATE TABLE none (a int)")
    assert look(Table, target, table="none", exists=False).outcome is F


def test_an_index_left_invalid_by_a_broken_build_fails(target, session):
    session.script("CREATE TABLE t (a int); INSERT INTO t VALUES (1), (1)")
    with pytest.raises(SqlFailed):
        session.execute("CREATE UNIQUE INDEX CONCURRENTLY i ON t (a)")
    reading = look(Index, target, index="i", table="t")
    assert (reading.outcome, reading.seen) == (F, "index i is invalid: failed")
    session.script("DROP INDEX i; CREATE INDEX i ON t (a); CREATE TABLE other (a int)")
    assert look(Index, target, index="i", table="t").outcome is P
    assert look(Index, target, index="i", table="other").outcome is F
    assert look(Index, target, index="i", unique=True).outcome is F


@pytest.fixture
def user(session: Session, database: str, world: World) -> Iterator[str]:
    """The name of an ordinary user who may log in."""
    name = f"user_{secrets.token_hex(4)}"
    session.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'a-long-word'")
    yield name
    session.script(f"DROP OWNED BY {name}; DROP ROLE {name}")


def as_user(database: str, user: str) -> str:
    """Return the database's DSN for another user, in its own notation."""
    if "://" not in database:
        return f"{database} user={user} password=a-long-word"
    parts = urlsplit(database)
    place = parts.netloc.rpartition("@")[2]
    return parts._replace(netloc=f"{user}:a-long-word@{place}").geturl()


def test_the_rights_that_a_dump_needs_are_listed_where_they_lack(target, session, user, database):
    session.script(
        f"CREATE TABLE hidden (a int); CREATE TABLE open (a int); CREATE TABLE guarded (a int);"
        f"ALTER TABLE guarded ENABLE ROW LEVEL SECURITY; GRANT SELECT ON open, guarded TO {user};"
    )
    reading = look(
        Database, target.at(dsn=as_user(database, user)), rights=["dump", "own", "create", "create_database"]
    )
    assert reading.outcome is F
    assert f"{user} may not read all of guarded, hidden: failed" in reading.seen
    assert f"{user} does not own guarded, hidden, open: failed" in reading.seen
    assert f"{user} may not create in schema public: failed" in reading.seen
    assert f"{user} may not create databases on this server: failed" in reading.seen
    assert look(Database, target, rights=["dump", "own", "create", "create_database"]).outcome is P


def test_a_version_that_is_too_old_fails_and_the_size_is_told(target):
    assert "≥ 99: failed" in look(Database, target, at_least=99).seen
    reading = look(Database, target)
    assert reading.unit == "bytes"
    assert reading.value is not None
    assert reading.value > 1_000_000


def test_the_tools_that_fit_the_server_are_named(target):
    reading = look(Tools, target, programs=["sh"])
    assert reading.outcome is P
    assert "pg_dump" in reading.seen
    assert look(Tools, target, programs=["no-such-program"], postgresql=False).seen == (
        "no-such-program is not installed: failed"
    )
