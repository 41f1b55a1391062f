"""Checks of PostgreSQL in operation, on real servers of several versions, as superuser and as an ordinary role."""

from __future__ import annotations

import json
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import psycopg
import pytest
from pydantic import ValidationError

from tasks.adapters.pg_account import server_account
from tasks.adapters.pg_cluster import Cluster
from tasks.adapters.pg_server import installed, usable
from tasks.checking import look_at
from tasks.checks.activity import Activity
from tasks.checks.database_statistics import DatabaseStatistics
from tasks.checks.index_defects import IndexDefects
from tasks.checks.index_usage import IndexUsage
from tasks.checks.queries_per_request import QueriesPerRequest
from tasks.checks.replication import Replication
from tasks.checks.settings import Settings
from tasks.checks.slow_queries import SlowQueries
from tasks.checks.table_growth import TableGrowth
from tasks.checks.vacuum import Vacuum
from tasks.checks.wraparound import Wraparound
from tasks.domain.errors import Inconclusive
from tasks.domain.outcome import Measurement, Reading, unknown
from tasks.domain.ports import Session, World
from tasks.domain.target import Target
from tasks.ledger.ledger import Ledger
from tests.integration.test_ledger import opened
from tests.looks import F, P, U, look
from tests.observed import asking_service, counting_server, standby_of
from tests.places import run

on_three_versions = pytest.mark.parametrize("pg_server", [None, 16, 15], indirect=True, ids=["newest", "16", "15"])


@pytest.fixture
def target(world: World, database: str, tmp_path: Path) -> Target:
    return Target(world, "demo", "v2", dsn=database, root=tmp_path)


@pytest.fixture
def role(session: Session) -> Iterator[str]:
    """An ordinary role that may log in, dropped afterwards."""
    name = f"user_{secrets.token_hex(4)}"
    session.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'a-long-word' CONNECTION LIMIT 3")
    yield name
    session.script(f"DROP OWNED BY {name}; DROP ROLE {name}")


def as_role(dsn: str, role: str) -> str:
    given = psycopg.conninfo.conninfo_to_dict(dsn)
    return psycopg.conninfo.make_conninfo("", **{**given, "user": role, "password": "a-long-word"})


@contextmanager
def connected(dsn: str, application: str = "orders-api", begun: str = "") -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(dsn, autocommit=True, application_name=application) as conn:
        if begun:
            conn.execute("BEGIN")
            conn.execute(begun.encode())
        yield conn


def until(dsn: str, query: str, *params: Any) -> None:
    """Wait until a query returns a row."""
    deadline = time.monotonic() + 60
    with psycopg.connect(dsn, autocommit=True) as conn:
        while not conn.execute(query.encode(), params).fetchall():
            assert time.monotonic() < deadline, query
            time.sleep(0.01)


def later(target: Target, reading: Reading, which: str = "last", *, ago: timedelta = timedelta(0)) -> Target:
    """Return the target as a look sees it that comes after the one that read this, which lies some time back."""
    counters = json.loads(json.dumps(dict(reading.detail)))["counters"]
    counters["at"] = (datetime.fromisoformat(counters["at"]) - ago).isoformat()
    return target.at(earlier={"it": {which: counters}})


QUICK = {"idle_in_transaction": "1ms", "transaction": "1h", "waiting": "1h"}


@on_three_versions
def test_what_is_hidden_from_an_ordinary_role_is_unknown_until_it_is_granted(target, session, role, database):
    session.script("CREATE TABLE t (a int PRIMARY KEY); INSERT INTO t VALUES (1); ANALYZE t")
    humble = target.at(dsn=as_role(database, role))
    with connected(database, begun="SELECT 'secret', 4711 FROM t"):
        reading = look(Activity, humble, **QUICK)
        assert reading.outcome is U, reading
        assert f'GRANT pg_read_all_stats TO "{role}"' in reading.seen
        assert "secret" not in json.dumps(dict(reading.detail))
        # What needs no right is known all the same.
        assert look(Activity, humble, at_least=2, **QUICK).outcome is F
        assert look(Wraparound, humble).outcome is P
        assert look(Vacuum, humble).outcome is P
        assert look(IndexDefects, humble).outcome is P
        assert look(TableGrowth, humble, tables=["t"], size="1GB").outcome is P
        assert look(DatabaseStatistics, humble, since="reset", deadlocks=0).outcome is P
        assert look(IndexUsage, humble).outcome is U
        assert look(Settings, humble, values={"max_connections": 200}).outcome is P
        assert look(Replication, humble, standbys=0).outcome is U
        hidden = look(Settings, humble, values={"hba_file": None})
        assert (hidden.outcome, "GRANT pg_read_all_settings" in hidden.seen) == (U, True)
        session.execute(f"GRANT pg_monitor TO {role}")
        reading = look(Activity, humble, **QUICK)
        assert reading.outcome is F
        assert "SELECT ?, ? FROM t" in reading.seen
        assert "orders-api" in reading.seen
        assert "secret" not in reading.seen + json.dumps(dict(reading.detail))
        assert look(Settings, humble, values={"hba_file": None}).outcome is P
        assert look(Settings, humble, values={"no_such_thing": None}).outcome is F


@on_three_versions
def test_sessions_that_wait_for_a_lock_and_long_transactions_are_named(target, session, database):
    session.script("CREATE TABLE t (a int)")
    with connected(database, "holder", "LOCK TABLE t") as holder, connected(database, "waiter") as waiter:
        pid = waiter.info.backend_pid
        thread = threading.Thread(target=lambda: waiter.execute("SELECT count(*) FROM t WHERE a = 42"))
        thread.start()
        waits = "SELECT FROM pg_locks WHERE NOT granted AND pid = %s"
        until(database, waits, pid)
        reading = look(Activity, target, waiting="1ms", query="1ms")
        assert reading.outcome is F
        assert f"pid {pid} (waiter" in reading.seen
        assert "a = ?" in reading.seen
        assert reading.seen.startswith("longest statement")
        long = look(Activity, target, transaction="1ms", application="holder")
        assert (long.outcome, "longest transaction" in long.seen) == (F, True)
        assert look(Activity, target, transaction="1ms", idle_in_transaction="1ms", ignore=["holder", "waiter"],
                    waiting="1ms").outcome is P  # fmt: skip
        holder.execute("ROLLBACK")
        thread.join(20)


def test_connections_are_held_against_the_limits_of_server_and_role(target, session, role, database):
    with ExitStack() as held:
        for _ in range(2):
            held.enter_context(connected(as_role(database, role)))
        assert look(Activity, target, role=role, at_least=2, at_most=2, connections="70%").outcome is P
        reading = look(Activity, target, role=role, connections="60%")
        assert (reading.outcome, reading.seen) == (F, "2 of 3 connections of the role ≤ 60%: failed")
        assert look(Activity, target, role=role, at_most=1).seen.startswith(f"sessions of {role} 2 ≤ 1")
        assert look(Activity, target, application="nobody", at_most=0).outcome is P
        assert look(Activity, target, connections="0%").outcome is F
        assert look(Activity, target, role=role, encrypted=True).seen.startswith("sessions without TLS: 2: pid")
        assert look(Activity, target, role="nobody", encrypted=True).outcome is U


def test_statistics_are_judged_by_what_was_counted_since_the_last_look(target, session, world, database):
    session.script("CREATE TABLE t (a int PRIMARY KEY); INSERT INTO t VALUES (1), (2)")
    asked = {"deadlocks": 0, "rollbacks": "50%", "min_transactions": 5}
    first = look(DatabaseStatistics, target, **asked)
    assert (first.outcome, "no earlier look" in first.seen) == (U, True)
    deadlock(database)
    second = look(DatabaseStatistics, later(target, first), **asked)
    assert second.outcome is F
    assert "deadlocks since the last look, " in second.seen
    assert second.value == 1
    third = look(DatabaseStatistics, later(target, second), deadlocks=0)
    assert third.outcome is P, third
    recorded = DatabaseStatistics.model_validate({"name": "it", **asked}).record(target)
    before = target.at(baseline={"it": recorded})
    assert look(DatabaseStatistics, before, deadlocks=0).outcome is P
    assert "since before the release" in look(DatabaseStatistics, before, deadlocks=0).seen
    few = look(DatabaseStatistics, before, cache_hit="1%", min_reads=10_000_000)
    assert (few.outcome, "are needed to judge" in few.seen) == (U, True)
    for _ in range(8):
        run(world, database, "BEGIN; SELECT count(*) FROM t; ROLLBACK")
    assert look(DatabaseStatistics, before, rollbacks="1%", min_transactions=5).outcome is F
    assert look(DatabaseStatistics, before, cache_hit="1%", min_reads=1).outcome is P
    session.execute("SELECT pg_stat_reset()")
    reset = look(DatabaseStatistics, later(target, third), deadlocks=0)
    assert (reset.outcome, "the statistics were reset" in reset.seen) == (U, True)
    assert look(DatabaseStatistics, later(target, reset), deadlocks=0).outcome is P
    with pytest.raises(ValidationError, match="one of deadlocks"):
        look(DatabaseStatistics, target)


def deadlock(dsn: str) -> None:
    """Let two sessions stand in each other's way, and return once the one that was ended has been counted."""
    with connected(dsn, begun="UPDATE t SET a = a WHERE a = 1") as one, connected(dsn) as two:
        two.execute("SET deadlock_timeout = '20ms'")
        two.execute("BEGIN; UPDATE t SET a = a WHERE a = 2")
        one.execute("SET LOCAL deadlock_timeout = '1h'")
        thread = threading.Thread(target=lambda: one.execute("UPDATE t SET a = a WHERE a = 2"))
        thread.start()
        until(dsn, "SELECT FROM pg_locks WHERE NOT granted AND pid = %s", one.info.backend_pid)
        with pytest.raises(psycopg.errors.DeadlockDetected):
            two.execute("UPDATE t SET a = a WHERE a = 1")
        two.execute("ROLLBACK")
        thread.join(20)
    until(dsn, "SELECT FROM pg_stat_database WHERE datname = current_database() AND deadlocks > 0")


def test_another_database_or_server_under_the_same_name_is_not_compared(target):
    first = look(DatabaseStatistics, target, deadlocks=0)
    for mark, why in (("database", "another database"), ("timeline", "promoted"), ("started", "after a crash")):
        counters = json.loads(json.dumps(first.detail["counters"]))
        counters["server"][mark] = "1"
        reading = look(DatabaseStatistics, target.at(earlier={"it": {"last": counters}}), deadlocks=0)
        assert (reading.outcome, why in reading.seen) == (U, True)


def test_counters_go_on_over_a_restart_and_begin_anew_after_a_crash(world, open_directory):
    account = server_account()
    cluster = Cluster(open_directory / "server", usable(max(installed())[1], account), account)
    try:
        cluster.make_directory()
        cluster.create({"fsync": "off"}, sync=False)
        cluster.start()
        first = look(DatabaseStatistics, Target(world, "demo", "v2", dsn=cluster.dsn("postgres")), deadlocks=0)
        outcomes = {}
        for mode in ("fast", "immediate"):
            cluster.stop(mode)
            cluster.start()
            target = Target(world, "demo", "v2", dsn=cluster.dsn("postgres"))
            outcomes[mode] = look(DatabaseStatistics, later(target, first), deadlocks=0)
        assert outcomes["fast"].outcome is P, outcomes["fast"]
        assert outcomes["immediate"].outcome is U
        assert "after a crash" in outcomes["immediate"].seen
    finally:
        cluster.stop("immediate")


def test_damaged_pages_are_unknown_where_none_would_be_noticed(target, session):
    reading = look(DatabaseStatistics, target, since="reset", checksum_failures=0)
    counted = session.value("SHOW data_checksums") == "on"
    assert reading.outcome is (P if counted else U), reading


def test_dead_rows_of_a_table_that_vacuum_does_not_reach_fail(target, session, world, database):
    session.script("CREATE TABLE t (a int) WITH (autovacuum_enabled = off)")
    run(world, database, "INSERT INTO t SELECT generate_series(1, 1000)")
    run(world, database, "UPDATE t SET a = a + 1")
    asked = {"tables": ["t"], "min_dead": 500, "vacuumed": "1d", "analyzed": "1d"}
    reading = look(Vacuum, target, **asked)
    assert reading.outcome is F
    assert "t has 1000 dead rows of 2000, 50.0% ≤ 30%, last vacuumed never: failed" in reading.seen
    assert "t was never vacuumed" in reading.seen
    session.execute("VACUUM ANALYZE t")
    assert look(Vacuum, target, **asked).outcome is P
    session.execute("SELECT pg_stat_reset()")
    reset = look(Vacuum, target, **asked)
    assert (reset.outcome, "not counted since the statistics were reset" in reset.seen) == (U, True)


def test_bloat_is_told_by_pgstattuple_to_a_role_that_may_use_it(counted, world):
    asked = {"tables": ["bloated"], "bloat": "40%", "min_dead": 1_000_000}
    run(world, counted.dsn, "CREATE TABLE bloated AS SELECT generate_series(1, 5000) AS a; ANALYZE bloated")
    try:
        lacking = look(Vacuum, counted, **asked)
        assert (lacking.outcome, "CREATE EXTENSION pgstattuple" in lacking.seen) == (U, True)
        run(world, counted.dsn, "CREATE EXTENSION pgstattuple; DELETE FROM bloated WHERE a > 2000")
        reading = look(Vacuum, counted, **asked)
        assert (reading.outcome, "are dead or free ≤ 40%" in reading.seen) == (F, True)
        assert look(Vacuum, counted, **{**asked, "bloat": "90%"}).outcome is P
        hidden = look(Vacuum, counted.at(dsn=as_role(counted.dsn, "app")), **asked)
        assert (hidden.outcome, 'GRANT pg_stat_scan_tables TO "app"' in hidden.seen) == (U, True)
    finally:
        run(world, counted.dsn, "DROP EXTENSION IF EXISTS pgstattuple; DROP TABLE bloated")


@on_three_versions
def test_unused_and_defective_indexes_are_named(target, session, world, database):
    session.script(
        "CREATE TABLE t (a int PRIMARY KEY, b int); INSERT INTO t SELECT n, n % 7 FROM generate_series(1, 3000) n;"
        "CREATE INDEX by_b ON t (b); CREATE INDEX again_a ON t (a); CREATE INDEX some_b ON t (b) WHERE b > 3; ANALYZE t"
    )
    asked = {"tables": ["t"], "min_rows": 1000, "min_reads": 5, "since": "look"}
    first = look(IndexUsage, target, **asked)
    assert first.outcome is U
    run(world, database, "SET enable_seqscan = off;" + "SELECT count(*) FROM t WHERE b = 1;" * 6)
    second = look(IndexUsage, later(target, first), **asked)
    assert second.outcome is F
    assert "by_b" not in second.seen
    assert "again_a was used 0 times ≥ 1 since the last look" in second.seen
    assert "t_pkey" not in second.seen
    assert look(IndexUsage, later(target, first), indexes=["by_b"], **asked).outcome is P
    assert look(IndexUsage, later(target, first), **{**asked, "min_rows": 5000, "indexes": ["some_b"]}).outcome is U
    session.script("CREATE INDEX new_b ON t (b, a)")
    run(world, database, "SELECT count(*) FROM t;" * 6)
    no_index = look(IndexUsage, later(target, second), indexes=["by_b", "t"], **asked)
    assert (no_index.outcome, "t is not an index" in no_index.seen) == (F, True)
    new = look(IndexUsage, later(target, second), indexes=["new_b"], **asked)
    assert (new.outcome, "new_b was made since the last look" in new.seen) == (U, True)
    defects = look(IndexDefects, target)
    assert (defects.outcome, "does only what t_pkey does: failed" in defects.seen) == (F, True)
    session.script("DROP INDEX again_a")
    assert look(IndexDefects, target, tables=["t"]).outcome is P
    with pytest.raises(Exception, match="could not create unique index"):
        session.execute("CREATE UNIQUE INDEX CONCURRENTLY broken ON t (b)")
    assert look(IndexDefects, target, tables=["t"]).seen == "broken of t is invalid: failed"


def test_an_index_that_is_being_built_is_no_defect(target, session, database):
    session.script("CREATE TABLE t (a int); CREATE INDEX good ON t (a)")
    with connected(database, begun="INSERT INTO t VALUES (1)") as writer, connected(database) as builder:
        build = threading.Thread(target=lambda: builder.execute("CREATE INDEX CONCURRENTLY new ON t ((a + 1))"))
        build.start()
        until(database, "SELECT FROM pg_index WHERE NOT indisvalid")
        assert look(IndexDefects, target, tables=["t"]).outcome is P
        writer.execute("COMMIT")
        build.join(20)


def test_growth_is_forecast_to_the_day_on_which_a_limit_is_reached(target, session, world, database):
    session.script("CREATE TABLE t (a int, note text) PARTITION BY RANGE (a)")
    session.script("CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (0) TO (1000000)")
    run(world, database, "INSERT INTO t SELECT n, repeat('x', 500) FROM generate_series(1, 2000) n")
    asked = {"tables": ["t"], "size": "100MB", "ahead": "90d", "per_day": "10MB", "rows": 10_000, "bytes_per_row": 700}
    first = look(TableGrowth, target, **asked)
    assert (first.outcome, "no earlier look" in first.seen) == (U, True)
    run(world, database, "INSERT INTO t SELECT n, repeat('x', 500) FROM generate_series(1, 2000) n")
    soon = look(TableGrowth, later(target, first, "first"), **asked)
    assert (soon.outcome, "3600 s" in soon.seen or "1 h are needed" in soon.seen) == (U, True)
    in_a_day = look(TableGrowth, later(target, first, "first", ago=timedelta(days=1)), **asked)
    assert in_a_day.outcome is F
    left = (in_a_day.detail["tables"]["t"]["bytes"], in_a_day.detail["tables"]["t"]["bytes_per_day"])
    day = datetime.fromisoformat(in_a_day.detail["counters"]["at"]) + timedelta(days=(100e6 - left[0]) / left[1])
    assert f"t comes to 100.0 MB on {day:%Y-%m-%d}" in in_a_day.seen
    assert in_a_day.detail["tables"]["t"]["inserted_since"] == 2000
    slowly = look(TableGrowth, later(target, first, "first", ago=timedelta(days=100)), **asked)
    assert slowly.outcome is P, slowly
    many = look(TableGrowth, later(target, first, "first", ago=timedelta(days=100)), tables=["t"], rows_per_day=10)
    assert (many.outcome, many.seen) == (F, "t grows in a day by 20 rows ≤ 10 rows: failed")
    assert look(TableGrowth, target, size="1kB").seen.startswith("the database takes")
    session.script("CREATE VIEW no_table AS SELECT 1")
    for kind, more in ((TableGrowth, {"size": "1kB"}), (Vacuum, {}), (IndexDefects, {})):
        for name in ("none", "no_table"):
            reading = look(kind, target, tables=["t", name] if kind is not TableGrowth else [name], **more)
            assert (reading.outcome, f"{name} is not a table" in reading.seen) == (U, True)
    with pytest.raises(ValidationError, match="need tables"):
        look(TableGrowth, target, rows=5)


def test_settings_are_compared_in_postgresqls_own_units(target, session):
    good = {
        "shared_buffers": {"at_least": "16MB", "at_most": "128GB"}, "checkpoint_completion_target": {"at_least": 0.5},
        "wal_level": {"one_of": ["replica", "logical"]}, "timezone": "UTC", "autovacuum_naptime": "60s",
        "work_mem": None, "checkpoint_timeout": {"at_most": "1h"}, "max_connections": {"equals": 200},
    }  # fmt: skip
    assert look(Settings, target, values=good).outcome is P
    # A look sets its own limit of time; that is not what a new session has.
    bad = {"statement_timeout": {"at_most": "30s"}, "work_mem": {"at_least": "1GB"}, "temp_file_limit": {"at_most": 5}}
    reading = look(Settings, target, values=bad)
    assert reading.outcome is F
    assert "statement_timeout 0ms ≤ 30s: 0 turns it off: failed" in reading.seen
    assert "work_mem 4096kB ≥ 1GB: failed" in reading.seen
    assert "temp_file_limit -1 ≤ 5: what a negative value means" in reading.seen
    with pytest.raises(ValidationError, match="PostgreSQL's units"):
        look(Settings, target, values={"work_mem": {"at_least": "4 mb"}})


def test_the_last_and_the_first_look_of_a_release_reach_a_check(world, target, database, session):
    session.execute("CREATE DATABASE book_of_it")
    book = Ledger(world.databases.with_database(database, "book_of_it"))
    try:
        opened(book)
        check = DatabaseStatistics.model_validate({"name": "it", "deadlocks": 0})
        ctx = cast("Any", SimpleNamespace(ledger=book, release=SimpleNamespace(id="r1")))
        outcomes = [look_at(ctx, "watch", [check], target)[0].outcome for _ in range(3)]
        assert outcomes == [U, P, P]
        found = book.evidence.counted("r1", "watch", ["it", "other"])["it"]
        assert found["first"]["at"] < found["last"]["at"]
        assert book.evidence.counted("r1", "health", ["it"]) == {}
        looks = book.evidence.measurements("r1", "watch")
        later = looks[-1].at + timedelta(hours=1)
        assert book.evidence.last_results("r1", "watch") == {"it": looks[-1].at}
        book.evidence.measured("r1", "watch", [Measurement("it", "sql", unknown("away"), later, 0.1)])
        assert book.evidence.last_results("r1", "watch") == {"it": looks[-1].at}, "that one has learnt nothing"
        assert book.evidence.last_results("r1", "health") == {}
        assert book.evidence.counted("r1", "watch", []) == {}
    finally:
        book.close()
        session.execute("DROP DATABASE book_of_it WITH (FORCE)")


@pytest.fixture(scope="module")
def counting() -> Iterator[str]:
    with counting_server({"max_prepared_transactions": "5", "pg_stat_statements.max": "100"}) as dsn:
        yield dsn


@pytest.fixture
def counted(world: World, counting: str, tmp_path: Path) -> Iterator[Target]:
    """A target whose server counts statements, from nothing on."""
    target = Target(world, "demo", "v2", dsn=counting, root=tmp_path)
    run(world, counting, "CREATE ROLE app LOGIN PASSWORD 'a-long-word'; SELECT pg_stat_statements_reset()")
    yield target
    run(world, counting, "DROP OWNED BY app; DROP ROLE app; DROP EXTENSION pg_stat_statements")
    run(world, counting, "CREATE EXTENSION pg_stat_statements")


SLOW = "SELECT pg_sleep(0.03)"


def test_slow_statements_are_those_that_were_slow_since_the_last_look(counted, world):
    asked = {"pattern": "pg_sleep", "min_calls": 2, "mean": "20ms", "max": "10s"}
    first = look(SlowQueries, counted, **asked)
    assert first.outcome is U
    run(world, counted.dsn, SLOW)
    few = look(SlowQueries, later(counted, first), **asked)
    assert (few.outcome, few.seen.startswith("none of 1 statements was called 2 times")) == (U, True)
    run(world, counted.dsn, SLOW)
    run(world, counted.dsn, SLOW)
    slow = look(SlowQueries, later(counted, few), **asked)
    assert slow.outcome is F
    assert "in 2 calls since the last look" in slow.seen
    assert "SELECT pg_sleep($1)" in slow.seen
    assert slow.detail["top"][0]["calls"] == 2
    assert look(SlowQueries, later(counted, few), **{**asked, "mean": "10s"}).outcome is P
    assert look(SlowQueries, later(counted, slow), **asked).outcome is U
    run(world, counted.dsn, "SELECT pg_sleep(0.0); SELECT pg_sleep(0.0); SELECT pg_sleep(0.0)")
    # Its longest call was long ago, which counts no more.
    newer = look(SlowQueries, later(counted, slow), **{**asked, "mean": None, "max": "20ms"})
    assert newer.outcome is P, newer
    assert "no new longest call" in newer.seen
    run(world, counted.dsn, "SELECT pg_stat_statements_reset()")
    assert "were reset" in look(SlowQueries, later(counted, slow), **asked).seen


def test_statements_are_read_in_every_version_of_the_extension(counted, world):
    for version in ("1.4", "1.7", "1.8", "1.9", "1.10"):
        script = "DROP EXTENSION pg_stat_statements; CREATE SCHEMA IF NOT EXISTS odd;"
        run(world, counted.dsn, f"{script} CREATE EXTENSION pg_stat_statements SCHEMA odd VERSION '{version}'")
        run(world, counted.dsn, f"{SLOW}; {SLOW}")
        asked = {"pattern": "pg_sleep", "min_calls": 1, "mean": "20ms", "since": "reset"}
        assert look(SlowQueries, counted, **asked).outcome is F
    run(world, counted.dsn, "DROP EXTENSION pg_stat_statements; CREATE EXTENSION pg_stat_statements VERSION '1.7'")
    first = look(SlowQueries, counted)
    run(world, counted.dsn, "SELECT pg_stat_statements_reset()")
    gone = look(SlowQueries, later(counted, first))
    assert (gone.outcome, "most statements have vanished" in gone.seen) == (U, True)


def test_statements_that_were_thrown_out_or_are_hidden_make_a_pass_unknown(counted, world):
    asked = {"min_calls": 1, "mean": "30s"}
    first = look(SlowQueries, counted, **asked)
    columns = [", ".join(["1"] * number) for number in range(1, 150)]
    run(world, counted.dsn, ";".join(f"SELECT {one}" for one in columns))
    reading = look(SlowQueries, later(counted, first), **asked)
    assert (reading.outcome, "raise pg_stat_statements.max" in reading.seen) == (U, True)
    assert look(SlowQueries, later(counted, first), evictions=1000, **asked).outcome is P
    humble = counted.at(dsn=as_role(counted.dsn, "app"))
    hidden = look(SlowQueries, humble, since="reset", evictions=1000, **asked)
    assert (hidden.outcome, 'GRANT pg_read_all_stats TO "app"' in hidden.seen) == (U, True)


def test_an_extension_that_is_not_there_or_not_loaded_says_what_to_do(target, session, counted, world):
    with pytest.raises(Inconclusive, match="shared_preload_libraries"):
        look(SlowQueries, target)
    if session.server_version >= 160000:
        return
    session.execute("CREATE EXTENSION pg_stat_statements")
    with pytest.raises(Inconclusive, match="has not loaded it"):
        look(SlowQueries, target)


def test_queries_per_request_are_held_against_a_limit_and_against_before(counted):
    asked = {"requests": 4, "control": "200ms"}
    with asking_service(counted.dsn) as url:
        limited = look(QueriesPerRequest, counted, url=f"{url}/4", at_most=4, **asked)
        assert limited.outcome is P, limited
        assert limited.value == 4
        assert limited.detail["top"] == [{"query": "SELECT $1::int + $2", "per_request": 4.0}]
        many = QueriesPerRequest.model_validate({"name": "it", "url": f"{url}/50", "at_most": 1, **asked})
        before = counted.at(baseline={"it": many.record(counted)})
        assert before.baseline["it"]["queries"] == 50
        assert look(QueriesPerRequest, before, url=f"{url}/1", fewer_by="98%", **asked).outcome is P
        assert look(QueriesPerRequest, before, url=f"{url}/2", fewer_by="98%", **asked).outcome is F
        assert look(QueriesPerRequest, before, url=f"{url}/52", more_by="0%", **asked).outcome is F
        assert look(QueriesPerRequest, counted, url=f"{url}/1", fewer_by="98%", **asked).outcome is U
        assert look(QueriesPerRequest, counted, url=f"{url}/error", at_most=1, **asked).outcome is F
        elsewhere = look(QueriesPerRequest, counted, url=f"{url}/1", role="app", at_most=1, **asked)
        assert (elsewhere.outcome, "none was counted" in elsewhere.seen) == (U, True)


def test_what_runs_beside_the_requests_is_taken_off(counted, world):
    stop = threading.Event()

    def beside() -> None:
        with connected(counted.dsn, "scheduler") as conn:
            while not stop.wait(0.02):
                conn.execute("SELECT 'beside'")

    thread = threading.Thread(target=beside)
    thread.start()
    try:
        with asking_service(as_role(counted.dsn, "app")) as url:
            asked = {"url": f"{url}/5", "requests": 20, "control": "1s"}
            mixed = look(QueriesPerRequest, counted, at_most=7, **asked)
            assert mixed.outcome is P, mixed
            assert mixed.detail["noise_per_second"] > 0
            alone = look(QueriesPerRequest, counted, role="app", at_most=5, **asked)
            assert (alone.outcome, alone.value) == (P, 5), alone
    finally:
        stop.set()
        thread.join()


def test_prepared_transactions_left_behind_and_settings_that_wait_for_a_restart_are_named(counted, world):
    run(world, counted.dsn, "CREATE TABLE left_behind (a int)")
    with connected(counted.dsn, begun="INSERT INTO left_behind VALUES (1)") as conn:
        conn.execute("PREPARE TRANSACTION 'forgotten'")
    try:
        reading = look(Activity, counted, prepared="1ms")
        assert (reading.outcome, "'forgotten' of postgres since" in reading.seen) == (F, True)
        assert look(Activity, counted, prepared="1h").outcome is P
    finally:
        run(world, counted.dsn, "ROLLBACK PREPARED 'forgotten'")
    run(world, counted.dsn, "DROP TABLE left_behind")
    for statement in ("ALTER SYSTEM SET max_connections = 250", "SELECT pg_reload_conf()"):
        run(world, counted.dsn, statement)
    until(counted.dsn, "SELECT FROM pg_settings WHERE name = 'max_connections' AND pending_restart")
    assert look(Settings, counted).seen == "waiting for a restart: max_connections: failed"
    assert look(Settings, counted, values={"max_connections": 200}, pending_restart=True).outcome is P


def test_standbys_and_slots_are_held_against_their_limits(counted, world):
    run(world, counted.dsn, "SELECT pg_create_physical_replication_slot('kept', true)")
    with standby_of(counted.dsn, "kept") as standby:
        until(counted.dsn, "SELECT FROM pg_stat_replication WHERE state = 'streaming' AND replay_lsn IS NOT NULL")
        reading = look(Replication, counted)
        assert reading.outcome is P, reading
        assert look(Replication, counted, synchronous=1).outcome is F
        humble = look(Replication, counted.at(dsn=as_role(counted.dsn, "app")))
        assert (humble.outcome, "GRANT pg_read_all_stats" in humble.seen) == (U, True)
        here = counted.at(dsn=standby)
        assert look(Replication, here).outcome is P
        assert look(DatabaseStatistics, here, since="reset", conflicts=0).outcome is P
        run(world, standby, "SELECT pg_wal_replay_pause()")
        run(world, counted.dsn, "CREATE TABLE much AS SELECT generate_series(1, 20000)")
        until(counted.dsn, "SELECT FROM pg_stat_replication WHERE flush_lsn - replay_lsn > 500000")
        late = look(Replication, counted, lag="100kB", delay=None)
        assert (late.outcome, "is behind by" in late.seen) == (F, True)
        assert look(Replication, here, lag="100kB", delay="1h").outcome is F
    until(counted.dsn, "SELECT FROM pg_replication_slots WHERE NOT active")
    run(world, counted.dsn, "INSERT INTO much SELECT generate_series(1, 1000)")
    alone = look(Replication, counted, retained="1kB")
    assert alone.outcome is F
    for part in ("0 standbys stream ≥ 1: failed", "slot kept is read by nobody: failed", "slot kept retains"):
        assert part in alone.seen
    run(world, counted.dsn, "SELECT pg_drop_replication_slot('kept'); DROP TABLE much")
