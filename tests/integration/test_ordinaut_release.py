"""Ordinaut goes live in containers, and comes back by itself when its API can no longer be used."""

from __future__ import annotations

import time

import pytest

from tests.standins.ordinaut import sign, stand_in


@pytest.fixture(scope="module")
def ordinaut(pg_server, prefect_server, docker_engine):
    with stand_in(pg_server, docker_engine) as system:
        yield system


def test_it(ordinaut):
    t = time.monotonic()
    def lap(what):
        nonlocal t
        print("LAP", what, round(time.monotonic() - t, 1)); t = time.monotonic()
    ordinaut.phase("deploy", "v1")
    lap("v1")
    try:
        print(ordinaut.release("v2"))
        lap("v2 until go")
        print(sign(ordinaut))
    finally:
        lap("v2")
        print(ordinaut.notes())
        rid = ordinaut.latest().id
        for r in ordinaut.sql_in_ledger("select phase, name, outcome, seen from measurement where release_id=%s order by id", (rid,)):
            if r["outcome"] != "passed": print("  ", r)
        for r in ordinaut.sql_in_ledger("select phase, name, event, took, detail from step where release_id=%s order by id", (rid,)):
            if r["event"] != "started": print("  ", r["phase"], r["name"], r["event"], r["took"], str(r["detail"])[:300] if r["event"]!="done" else "")
