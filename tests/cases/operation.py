"""Cases of PostgreSQL in operation."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tasks.domain.target import Target
from tests.cases import NO_DATABASE, Cases
from tests.observed import asking_service, counting_server
from tests.places import run

Arranged = Iterator[tuple[dict[str, Any], Target]]

SPILLS = "SET work_mem = '64kB'; CREATE TEMP TABLE t AS SELECT g FROM generate_series(1, 50000) g ORDER BY random()"
USES_THE_KEY = "SET enable_seqscan = off; SELECT FROM task WHERE id = 7"


def after(script: str) -> Any:
    """Let statements have run before the look, and be counted."""

    @contextmanager
    def around(target: Target) -> Arranged:
        run(target.world, target.dsn, script)
        yield {}, target

    return {"with": around}


@contextmanager
def with_slot(target: Target) -> Arranged:
    run(target.world, target.dsn, "SELECT pg_create_physical_replication_slot('golive_case', true)")
    try:
        yield {}, target
    finally:
        run(target.world, target.dsn, "SELECT pg_drop_replication_slot('golive_case')")


@contextmanager
def with_statements(target: Target) -> Arranged:
    with counting_server() as dsn:
        run(target.world, dsn, "SELECT pg_sleep(0.05)")
        yield {}, target.at(dsn=dsn)


@contextmanager
def with_service(target: Target) -> Arranged:
    with counting_server() as dsn, asking_service(dsn) as url:
        yield {"url": f"{url}/2"}, target.at(dsn=dsn)


STATEMENTS = {"since": "reset", "min_calls": 1, "pattern": "pg_sleep", "AROUND": {"with": with_statements}}
SERVICE = {"url": "{base_url}", "requests": 2, "control": "100ms", "AROUND": {"with": with_service}}

CASES: Cases = {
    "activity": ({}, {"at_least": 5000}, {"dsn": NO_DATABASE}),
    "database_statistics": (
        {"temp_files": 1000, "since": "reset"},
        {"temp_files": 0, "since": "reset", "AROUND": after(SPILLS)},
        {"temp_files": 1000},
    ),
    "wraparound": ({}, {"used": "0%"}, {"dsn": NO_DATABASE}),
    "vacuum": (
        {"tables": ["task"]},
        {"tables": ["task"], "min_dead": 1, "dead": "10%", "AROUND": after("UPDATE task SET title = 'again'")},
        {"tables": ["none"]},
    ),
    "replication": (
        {"standbys": 0, "inactive_slots": True, "AROUND": {"with": with_slot}},
        {"standbys": 0, "AROUND": {"with": with_slot}},
        {"standbys": 0},
    ),
    "settings": (
        {"values": {"fsync": False, "max_connections": {"at_least": 10}}},
        {"values": {"fsync": True}},
        {"dsn": NO_DATABASE},
    ),
    "slow_queries": ({**STATEMENTS, "mean": "30s"}, {**STATEMENTS, "mean": "10ms"}, {}),
    "queries_per_request": (
        {**SERVICE, "at_most": 2},
        {**SERVICE, "at_most": 1},
        {"url": "{base_url}/health", "at_most": 2},
    ),
    "index_usage": (
        {"indexes": ["task_pkey"], "since": "reset", "AROUND": after(USES_THE_KEY)},
        {"indexes": ["none"]},
        {"indexes": ["idx_task_made"]},
    ),
    "index_defects": (
        {"tables": ["part"]},
        {"tables": ["task"], "AROUND": after("CREATE INDEX again ON task (made)")},
        {"tables": ["none"]},
    ),
    "table_growth": (
        {"tables": ["task"], "size": "1GB"},
        {"tables": ["task"], "size": "1kB"},
        {"tables": ["task"], "per_day": "1GB"},
    ),
}
