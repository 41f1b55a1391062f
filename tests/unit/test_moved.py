from __future__ import annotations

import math
from random import Random
from typing import Any

import pytest

from tasks.domain import moved
from tasks.domain.moved import Moved, Of

SERVER = {"database": "1", "version": "16", "timeline": "00000001", "started": "1", "reset": "1", "statements": "then"}


def counted(at: int, values: dict[str, Any], **server: Any) -> dict[str, Any]:
    return {
        "at": f"2026-11-22T{2 + at:02d}:00:00+00:00",
        "began": "2026-11-21T02:00:00+00:00",
        "server": {**SERVER, **server},
        "values": values,
    }


def statements(
    at: int, evicted: int = 0, left_out: int = 0, reset: str = "then", rows: Any = None, **more: Any
) -> dict[str, Any]:
    """Each row is its calls and its milliseconds in all."""
    rows = {**(rows or {}), **more}
    values = {
        "statements": {f"10/{key[1:]}/true": [calls, total, 9.0, None] for key, (calls, total) in rows.items()},
        "queries": {f"10/{key[1:]}/true": f"SELECT {key}" for key in rows},
        "left_out": left_out,
        "evicted": evicted,
    }
    return counted(at, values, statements=reset)


def names(found: list[Moved] | str) -> list[str]:
    assert not isinstance(found, str), found
    return [one.name for one in found]


def only(found: list[Moved] | str) -> Moved:
    assert isinstance(found, list), found
    (one,) = found
    return one


def test_a_statement_that_takes_longer_since_the_last_look_is_named_by_its_id_and_text() -> None:
    before = statements(0, q1=(1000, 2000.0), q2=(1000, 2000.0))
    last = statements(1, q1=(2000, 4000.0), q2=(2000, 4000.0))
    now = statements(2, q1=(2100, 4620.0), q2=(2100, 4200.0))
    one = only(moved.queries(before, last, now))
    assert str(one) == "query 1 «SELECT q1»: 3.1× slower (mean 2.00 ms → 6.20 ms in 100 calls)"


@pytest.mark.parametrize(
    "after",
    [
        {"q1": (1019, 5000.0), "q2": (2000, 9e3)},  # called too rarely
        {"q1": (2000, 4800.0), "q2": (2000, 9e3)},  # 1.4 times
        {"q1": (2000, 4000.0), "q2": (2000, 9e3)},  # as before
        {"q1": (1100, 2700.0), "q2": (90_000, 9e6)},  # of no account beside the rest
    ],
)
def test_a_statement_that_hardly_moved_is_not_named(after: dict[str, Any]) -> None:
    before = statements(0, q1=(1000, 2000.0), q2=(1000, 4000.0))
    assert "1 «SELECT q1»" not in names(moved.queries(before, before, statements(1, rows=after)))


def test_a_statement_is_new_only_where_all_of_before_is_known() -> None:
    after = {"q1": (1100, 2100.0), "q2": (100, 5000.0)}
    before = statements(0, q1=(1000, 2000.0))
    one = only(moved.queries(before, before, statements(1, rows=after)))
    assert one.factor == math.inf
    assert one.seen == "new, with 98% of the time (mean 50.00 ms in 100 calls)"
    assert names(moved.queries(statements(0, left_out=1, q1=(1000, 2000.0)), before, statements(1, rows=after))) == []
    assert names(moved.queries(before, before, statements(1, evicted=3, rows=after))) == []


def test_after_a_reset_nothing_is_guessed() -> None:
    before, now = statements(0, q1=(1000, 2000.0)), statements(1, q1=(100, 900.0), reset="later")
    assert moved.queries(before, before, now) == "the statistics were reset"
    many: dict[str, Any] = {f"q{i}": (50, 50.0) for i in range(9)}
    old, new = statements(0, rows=many), statements(1, q9=(50, 90.0))
    for counts in (old, new):
        counts["server"]["statements"] = None
    assert "was reset" in str(moved.queries(old, old, new))
    thrown_out = statements(1, evicted=1, q1=(40, 400.0))
    back = only(moved.queries(before, before, thrown_out))
    assert back.seen == "5.0× slower (mean 2.00 ms → 10.00 ms in 40 calls)", "it came back and was counted from there"


def test_a_table_that_has_grown_or_is_read_in_full_more_often_is_named() -> None:
    before = counted(0, {"public.jobs": [100_000_000, 240_000], "public.log": [9_000, 0], "public.gone": [1, 1]})
    last = counted(1, {"public.jobs": [100_000_000, 250_000], "public.log": [9_000, 0]})
    now = counted(2, {"public.jobs": [140_000_000, 1_250_000], "public.log": [90_000, 0], "public.new": [9e9, 9e9]})
    found = moved.tables(before, last, now)
    assert not isinstance(found, str)
    assert [str(one) for one in found] == [
        "table public.jobs: +40% (100.0 MB → 140.0 MB)",
        "table public.jobs: 100× as many rows read by full scans (278 a second)",
    ]


def test_an_endpoint_is_named_only_if_it_is_surely_slower() -> None:
    random = Random(3)
    before = [0.02 * random.lognormvariate(0, 0.3) for _ in range(200)]
    slow = [0.06 * random.lognormvariate(0, 0.3) for _ in range(60)]
    (one,) = moved.endpoint("API", before, slow)
    assert one.of is Of.ENDPOINT
    assert 2.5 < one.factor < 3.5
    assert moved.endpoint("API", before, before[:60]) == []
    assert moved.endpoint("API", before, slow[:20]) == []
    assert moved.endpoint("API", before[:20], slow) == []
    assert moved.endpoint("API", [0.0] * 60, slow) == []


def test_a_lock_and_a_migration_are_held_against_their_rehearsal() -> None:
    (one,) = moved.lock("ACCESS EXCLUSIVE on jobs", 0.4, 1.3)
    assert str(one) == "lock ACCESS EXCLUSIVE on jobs: held 3.2× as long as rehearsed (400 ms → 1.3 s)"
    assert moved.lock("x", 0.01, 0.05) == moved.lock("x", None, 5.0) == moved.lock("x", 0.4, None) == []
    assert moved.migration(1.0, 5.0)[0].factor == 5.0
    assert moved.migration(1.0, 1.5) == moved.migration(None, 9.0) == []


def test_the_farthest_come_first_and_no_kind_hides_the_others() -> None:
    found = [Moved(Of.QUERY, f"q{i}", 10.0 + i, "") for i in range(9)]
    found += [Moved(Of.TABLE, "jobs", 1.4, ""), Moved(Of.QUERY, "new", math.inf, "")]
    assert [one.name for one in moved.most(found)] == ["new", "q8", "jobs"]
    assert moved.most([]) == ()
