from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from pydantic import ValidationError

from tasks.checks.duplicates import Duplicates
from tasks.checks.explain import Explain
from tasks.checks.future_timestamps import FutureTimestamps
from tasks.checks.nulls import Nulls
from tasks.checks.orphans import Orphans
from tasks.checks.sequence import Sequence
from tasks.domain.errors import AccessDenied, SqlFailed, TimedOut
from tasks.domain.ports import Session, World
from tasks.domain.target import Target
from tests.looks import F, P, U, look, on_an_older_server_too


@pytest.fixture
def target(world: World, database: str, tmp_path: Path) -> Target:
    return Target(world, "demo", "v2", dsn=database, root=tmp_path)


MANY = """
CREATE TABLE orders (id int PRIMARY KEY, customer int, note text);
INSERT INTO orders SELECT n, n % 5000, 'x' FROM generate_series(1, 20000) n;
CREATE INDEX by_customer ON orders (customer);
"""


@on_an_older_server_too
def test_a_plan_must_use_its_index_and_not_read_the_table_from_end_to_end(target, session):
    session.script(MANY + "ANALYZE orders")
    good = {"query": "SELECT * FROM orders WHERE customer = %(c)s", "params": {"c": "42"}, "table": "public.orders"}
    reading = look(Explain, target, **good, index="by_customer", within="5s")
    assert reading.outcome is P, reading
    assert reading.unit == "ms"
    scanning = look(
        Explain, target, query="SELECT * FROM orders WHERE note = 'y';", table="orders", index="by_customer"
    )
    assert scanning.seen == (
        "the plan uses no index, expected by_customer: failed; the plan reads orders from end to end: failed"
    )
    assert look(Explain, target, query="SELECT * FROM orders", table="orders", index="none").outcome is F
    elsewhere = look(Explain, target, query="SELECT * FROM pg_class", table="orders")
    assert (elsewhere.outcome, elsewhere.seen) == (U, "the plan does not touch orders")


def test_a_plan_on_few_rows_or_without_statistics_is_unknown(target, session):
    session.script(MANY)
    query = {"query": "SELECT * FROM orders WHERE customer = 42", "table": "orders", "index": "by_customer"}
    few = look(Explain, target, **query, min_rows=30_000)
    assert (few.outcome, few.seen) == (U, "orders has 20000 rows; 30000 are needed to judge a plan")
    assert "no statistics" in look(Explain, target, **query).seen
    assert look(Explain, target, **query).outcome is U


@on_an_older_server_too
def test_the_plan_of_a_partitioned_table_names_its_parts(target, session):
    session.script(
        "CREATE TABLE log (at int, what int) PARTITION BY RANGE (at); CREATE INDEX by_what ON log (what);"
        "CREATE TABLE log_1 PARTITION OF log FOR VALUES FROM (0) TO (10000);"
        "CREATE TABLE log_2 PARTITION OF log FOR VALUES FROM (10000) TO (30000);"
        "INSERT INTO log SELECT n, n FROM generate_series(0, 19999) n; ANALYZE log"
    )
    assert look(Explain, target, query="SELECT * FROM log WHERE what = 7", table="log", index="by_what").outcome is P
    scan = look(Explain, target, query="SELECT * FROM log WHERE at % 2 = 0", table="log")
    assert scan.seen == "the plan reads log_1, log_2 from end to end: failed"


def test_a_query_that_is_slower_than_its_limit_fails_even_if_it_never_ends(target, session):
    session.script(MANY + "ANALYZE orders")
    slow = {"query": "SELECT pg_sleep(3), customer FROM orders WHERE customer = 1 LIMIT 1", "table": "orders"}
    given_up = look(Explain, target, **slow, within="100ms", timeout="300ms")
    assert given_up.outcome is F
    assert given_up.seen.endswith("≤ 100 ms")
    with pytest.raises(TimedOut):
        look(Explain, target, **slow, within="10s", timeout="300ms")
    assert look(Explain, target, **slow, timeout="300ms").outcome is P  # it is planned, and not run
    assert (
        "ms ≤ 1 ms" in look(Explain, target, **{**slow, "query": slow["query"].replace("3", "0.05")}, within="1ms").seen
    )


def test_a_query_to_explain_cannot_change_anything_and_is_one(target, session):
    session.script(MANY + "ANALYZE orders")
    with pytest.raises(SqlFailed) as refused:
        look(Explain, target, query="DELETE FROM orders", table="orders", within="5s")
    assert refused.value.sqlstate == "25006"
    for query in ("SELECT 1; DELETE FROM orders", "-- nothing", "SELECT 'open"):
        with pytest.raises(ValidationError, match=r"statements|unterminated"):
            look(Explain, target, query=query, table="orders")


@on_an_older_server_too
def test_the_fullest_sequence_is_told_and_one_that_is_too_full_fails(target, session):
    assert look(Sequence, target).seen == "there is no sequence"
    assert look(Sequence, target).outcome is U
    session.script(
        "CREATE TABLE t (id int GENERATED ALWAYS AS IDENTITY, s smallint); CREATE SEQUENCE wide OWNED BY t.s;"
        "CREATE SEQUENCE round MAXVALUE 10 CYCLE; SELECT setval('round', 10); SELECT setval('t_id_seq', 1000000000);"
        "CREATE SEQUENCE down INCREMENT -1 MINVALUE -100; SELECT setval('down', -50)"
    )
    reading = look(Sequence, target)
    assert (reading.outcome, reading.seen) == (P, "4 sequences, the fullest: down 50.0% of -100 ≤ 85%")
    session.execute("SELECT setval('wide', 30000)")
    reading = look(Sequence, target)
    assert (reading.outcome, reading.seen) == (F, "wide 91.6% of 32767 ≤ 85%: failed")
    assert (reading.value, reading.unit, reading.limit) == (91.56, "%", 85)
    assert look(Sequence, target, used="95%").outcome is P
    assert look(Sequence, target, sequences=["t_id_seq", "none"]).seen == "none is not there: failed"


@on_an_older_server_too
def test_a_sequence_that_lags_behind_its_column_fails(target, session):
    session.script(
        "CREATE TABLE \"Big %t\" (id serial, other int); CREATE SEQUENCE shared; SELECT setval('shared', 5);"
        "CREATE TABLE b (id bigint DEFAULT nextval('shared')); INSERT INTO \"Big %t\" (id) VALUES (1);"
    )
    assert look(Sequence, target, sequences=["shared"]).outcome is P
    reading = look(Sequence, target)
    assert reading.seen == ('"Big %t_id_seq" would give 1, and Big %t.id is already at 1: it lags behind: failed')
    session.script("SELECT nextval('\"Big %t_id_seq\"'); INSERT INTO b VALUES (9)")
    assert look(Sequence, target).seen == "shared would give 6, and b.id is already at 9: it lags behind: failed"


@on_an_older_server_too
def test_rows_without_their_parent_are_counted(target, session):
    session.script(
        'CREATE TABLE p (id int); CREATE SCHEMA "S%"; CREATE TABLE "S%".c ("P id" int);'
        'INSERT INTO p VALUES (1), (NULL); INSERT INTO "S%".c VALUES (1), (NULL), (2), (2)'
    )
    fields = {"child": '"S%".c."P id"', "parent": "p.id"}
    reading = look(Orphans, target, **fields)
    assert (reading.outcome, reading.value, reading.limit) == (F, 2, 0)
    assert reading.seen == 'rows of "S%".c."P id" without p.id: 2 rows ≤ 0 rows'
    assert look(Orphans, target, **fields, at_most=2).outcome is P
    session.execute('DELETE FROM "S%".c WHERE "P id" = 2')
    assert look(Orphans, target, **fields).outcome is P
    assert look(Orphans, target, **fields, min_rows=2).outcome is U


def test_a_table_without_rows_is_unknown_unless_it_may_be_empty(target, session):
    session.script("CREATE TABLE t (a int, at timestamptz)")
    for kind, fields in (
        (Orphans, {"child": "t.a", "parent": "t.a"}),
        (Nulls, {"table": "t", "columns": ["a"]}),
        (Duplicates, {"table": "t", "columns": ["a"]}),
        (FutureTimestamps, {"columns": ["t.at"]}),
    ):
        assert look(kind, target, **fields).outcome is U
        assert "0 rows to look at, 1 are needed" in look(kind, target, **fields).seen
        assert look(kind, target, **fields, min_rows=0).outcome is P


def test_nulls_are_counted_by_column(target, session):
    session.script('CREATE TABLE t (a int, "B %s" int, c int); INSERT INTO t VALUES (1, NULL, NULL), (2, NULL, 3)')
    assert look(Nulls, target, table="t", columns=["a"]).outcome is P
    reading = look(Nulls, target, table="t", columns=["a", "B %s", "c"])
    assert reading.seen == "t.B %s is null in 2 rows ≤ 0 rows: failed; t.c is null in 1 rows ≤ 0 rows: failed"
    assert look(Nulls, target, table="t", columns=["c"], at_most=1).outcome is P


def test_duplicates_are_counted_as_a_unique_constraint_would(target, session):
    session.script(
        "CREATE TABLE t (a int, b text, j json);"
        "INSERT INTO t VALUES (1, 'x'), (1, 'y'), (1, 'x'), (1, 'x'), (NULL, 'x'), (NULL, 'x')"
    )
    reading = look(Duplicates, target, table="t", columns=["a", "b"])
    assert reading.seen == "duplicates in t over (a, b): 2 rows ≤ 0 rows"
    session.execute("DELETE FROM t WHERE ctid IN (SELECT ctid FROM t WHERE b = 'x' LIMIT 2)")
    assert look(Duplicates, target, table="t", columns=["a", "b"]).outcome is P
    with pytest.raises(SqlFailed) as refused:
        look(Duplicates, target, table="t", columns=["j"])
    assert refused.value.sqlstate == "42883"


@on_an_older_server_too
def test_times_that_have_not_come_yet_are_counted(target, session):
    session.script(
        'CREATE TABLE t (zoned timestamptz, "no % zone" timestamp, day date, n int);'
        "SET timezone = 'UTC'; INSERT INTO t VALUES (now() + '30 s', localtimestamp + '30 s', current_date, 1)"
    )
    columns = ["t.zoned", 't."no % zone"', "t.day"]
    assert look(FutureTimestamps, target, columns=columns).outcome is P
    reading = look(FutureTimestamps, target, columns=["t.zoned"], tolerance="1s")
    assert reading.seen == "t.zoned more than 1.0 s ahead in 1 rows ≤ 0 rows: failed"
    east = look(FutureTimestamps, target, columns=['t."no % zone"'], timezone="America/New_York")
    assert east.outcome is F
    session.execute("UPDATE t SET day = day + 2")
    assert look(FutureTimestamps, target, columns=["t.day"]).outcome is F
    assert look(FutureTimestamps, target, columns=["t.n"]).seen == "t.n is integer, which is no time: unknown"


@pytest.fixture
def restricted(session: Session, database: str) -> Iterator[str]:
    """The DSN of a user for whom row-level security hides rows of ``t``."""
    name = f"user_{secrets.token_hex(4)}"
    session.script(
        f"CREATE ROLE {name} LOGIN PASSWORD 'a-long-word'; CREATE TABLE t (id serial, a int, at timestamptz);"
        f"INSERT INTO t (a) VALUES (1), (NULL); ALTER TABLE t ENABLE ROW LEVEL SECURITY;"
        f"CREATE POLICY few ON t USING (a = 1); GRANT SELECT ON t TO {name}; GRANT SELECT ON t_id_seq TO {name}"
    )
    place = urlsplit(database)
    yield place._replace(netloc=f"{name}:a-long-word@{place.netloc.rpartition('@')[2]}").geturl()
    session.script(f"DROP OWNED BY {name}; DROP ROLE {name}")


def test_rows_that_row_level_security_hides_are_not_taken_for_absent(target, restricted):
    hidden = target.at(dsn=restricted)
    for kind, fields in (
        (Orphans, {"child": "t.a", "parent": "t.a"}),
        (Nulls, {"table": "t", "columns": ["a"]}),
        (Duplicates, {"table": "t", "columns": ["a"]}),
        (FutureTimestamps, {"columns": ["t.at"]}),
        (Sequence, {}),
    ):
        with pytest.raises(AccessDenied):
            look(kind, hidden, **fields)


@pytest.mark.parametrize("name", ["t; DROP TABLE t", 't"; DROP TABLE t; --', "none", "a.b.c.d"])
def test_a_table_or_column_that_is_not_there_is_no_reading(name, target, session):
    session.execute("CREATE TABLE t (a int)")
    for kind, fields in (
        (Orphans, {"child": f"{name}.a", "parent": "t.a"}),
        (Orphans, {"child": "t.a", "parent": "t.b"}),
        (Orphans, {"child": "a", "parent": "t.a"}),
        (Nulls, {"table": name, "columns": ["a"]}),
        (Nulls, {"table": "t", "columns": [name]}),
        (Duplicates, {"table": "t", "columns": [name]}),
        (FutureTimestamps, {"columns": [f"t.{name}"]}),
        (Explain, {"table": name, "query": "SELECT 1"}),
    ):
        with pytest.raises(SqlFailed):
            look(kind, target, **fields)
    assert session.value("SELECT count(*) FROM t") == 0
