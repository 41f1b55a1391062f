from __future__ import annotations

from datetime import date
from decimal import Decimal
from uuid import UUID

import pytest
from pydantic import ValidationError

from tasks.domain.condition import MISSING, Expected, RowsCondition, all_of, at_path, held, last_lines, same, show
from tasks.domain.outcome import Outcome, Reading, judge_limit, passed, unknown

DOCUMENT = {"a": {"b": [{"c": 1}, {"c": None}]}, "n": 0}
P, F, U = Outcome.PASSED, Outcome.FAILED, Outcome.UNKNOWN


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("", DOCUMENT),
        ("n", 0),
        ("a.b[0].c", 1),
        ("$.a.b[0].c", 1),
        ("a.b[-1].c", None),
        ("a.b[2]", MISSING),
        ("a.b.c", MISSING),
        ("n.x", MISSING),
        ("z", MISSING),
    ],
)
def test_a_path_leads_to_its_place_or_to_nothing(path, value):
    assert at_path(DOCUMENT, path) == value


@pytest.mark.parametrize(
    ("value", "expected", "equal"),
    [
        (1, 1.0, True),
        (Decimal("0.1"), 0.1, True),
        (Decimal("1.50"), "1.50", True),
        (date(2026, 1, 6), "2026-01-06", True),
        (UUID(int=0), "00000000-0000-0000-0000-000000000000", True),
        (200, "200", False),
        (True, 1, False),
        (None, "None", False),
        (None, None, True),
        ([1], [1], True),
    ],
)
def test_values_are_compared_as_people_write_them_without_mixing_kinds(value, expected, equal):
    assert same(value, expected) is equal


@pytest.mark.parametrize(
    ("condition", "value", "outcome", "seen"),
    [
        ({"equals": "ok"}, "ok", P, 'x "ok" = "ok"'),
        ({"equals": None}, None, P, "x null = null"),
        ({"one_of": ["a", "b"]}, "c", F, 'x "c" is one of ["a", "b"]: failed'),
        ({"min": 1, "max": 3}, 2, P, "x 2 ≥ 1; x 2 ≤ 3"),
        ({"min": 1, "max": 3}, 4, F, "x 4 ≤ 3: failed"),
        ({"max": 3}, "2", F, 'x "2" ≤ 3: failed'),
        ({"max": 3}, True, F, "x true ≤ 3: failed"),
        ({"pattern": r"^v\d"}, "v12", P, r'x "v12" ~ ^v\d'),
        ({"exists": True}, None, P, "x is there"),
        ({"exists": True}, MISSING, F, "x is not there"),
        ({"exists": False}, MISSING, P, "x is not there"),
        ({"exists": False}, 1, F, "x = 1, expected nothing"),
        ({"equals": 1}, MISSING, F, "x is not there"),
    ],
)
def test_a_condition_echoes_the_value_that_it_judged(condition, value, outcome, seen):
    reading = Expected(**condition).judge("x", value)
    assert (reading.outcome, reading.seen) == (outcome, seen)


def test_a_pattern_that_is_none_is_refused_when_the_file_is_read():
    with pytest.raises(ValidationError, match="not a regular expression"):
        Expected(pattern="(")


@pytest.mark.parametrize(
    ("condition", "rows", "outcome", "seen"),
    [
        ({"equals": 3}, [{"count": 3}], P, "value 3 = 3"),
        ({"equals": "done"}, [{"status": "stuck"}], F, 'value "stuck" = "done"'),
        ({"equals": True}, [{"ok": True}], P, "value true = true"),
        ({"equals": None}, [{"x": None}], P, "value null = null"),
        ({"equals": 3}, [], U, "the query returned no row"),
        ({"equals": None}, [], U, "the query returned no row"),
        ({"at_most": 3}, [{"x": None}], U, "value null is not a number"),
        ({"at_most": 3}, [{"x": "NaN"}], U, "value nan ≤ 3: unknown"),
        ({"at_least": 1, "at_most": 3}, [{"x": Decimal("2.5")}], P, "value 2.5 ≥ 1; value 2.5 ≤ 3"),
        ({"at_least": 1}, [{"x": 0}], F, "value 0 ≥ 1: failed"),
        ({"rows": 0}, [], P, "0 rows = 0"),
        ({"rows": 0}, [{"id": 7}], F, '1 rows = 0 ({"id": 7})'),
    ],
)
def test_rows_are_judged_and_no_data_is_unknown(condition, rows, outcome, seen):
    reading = RowsCondition(**condition).judge_rows(rows)
    assert (reading.outcome, reading.seen) == (outcome, seen)


@pytest.mark.parametrize("condition", [{}, {"equals": 1, "rows": 1}, {"equals": 1, "at_least": 1}, {"rows": -1}])
def test_a_query_must_ask_for_exactly_one_thing(condition):
    with pytest.raises(ValidationError):
        RowsCondition(**condition)


def test_what_did_not_pass_is_told_and_marked():
    reading = all_of([passed("a"), held("b", holds=False), unknown("c")])
    assert (reading.outcome, reading.seen) == (F, "b: failed; c: unknown")
    assert all_of([passed("a"), passed("b")]).seen == "a; b"
    assert all_of([]).outcome is U


def test_the_value_told_is_that_of_the_condition_that_failed():
    reading = all_of([judge_limit(90, 100, "ms", "p50"), judge_limit(231, 200, "ms", "p95")], detail={"n": 1})
    assert reading == Reading(F, "p95 231 ms ≤ 200 ms: failed", 231, "ms", 200, {"n": 1})


def test_long_values_and_outputs_are_cut():
    assert len(show("x" * 1000)) == 80
    assert last_lines("\n".join(map(str, range(100))), 3) == ["97", "98", "99"]
    assert last_lines("") == []
