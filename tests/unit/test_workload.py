"""A load of SQL statements: how they are read, and what their latencies are judged to be."""

from __future__ import annotations

from random import Random

import pytest
from pydantic import ValidationError

from tasks.domain.outcome import Outcome
from tasks.domain.workload import ENOUGH, Sent, Template, judge, parse, phase
from tasks.spec.rehearsal import Rehearsal


def test_a_range_becomes_a_whole_number_within_it_and_all_else_stays():
    template = parse("SELECT '{x}', {1..3} FROM t WHERE id = {-5..-5} -- {a..b}")
    said = {template.fill(Random(seed)) for seed in range(50)}
    assert said == {f"SELECT '{{x}}', {n} FROM t WHERE id = -5 -- {{a..b}}" for n in (1, 2, 3)}
    assert parse("SELECT 1") == Template(("SELECT 1",), ())


@pytest.mark.parametrize("text", ["", "  ", "SELECT {9..1}"])
def test_a_statement_that_says_nothing_is_refused(text):
    with pytest.raises(ValueError, match="expected"):
        parse(text)
    with pytest.raises(ValidationError):
        Rehearsal.model_validate({"under_load": {"statements": [text]}})


def sent(count: int, took: float, *, at: float = 0.0, error: str = "", slow: bool = False) -> list[Sent]:
    return [Sent(at, took, error, slow)] * count


def test_statements_count_where_they_were_due():
    found = phase([*sent(3, 0.1, at=0.9), *sent(2, 5.0, at=1.0), *sent(1, 0.1, at=2.0)], 1.0, 2.0)
    assert (found.sent, found.latencies) == (2, (5.0, 5.0))


def test_what_fails_at_once_tells_no_latency_and_what_is_given_up_for_its_time_does():
    during = phase([*sent(98, 0.01), *sent(2, 0.001, error="42703"), *sent(2, 10.0, error="TimedOut", slow=True)], 0, 1)
    assert (during.sent, during.failed, dict(during.errors)) == (102, 4, {"42703": 2, "TimedOut": 2})
    assert len(during.latencies) == 100
    assert during.as_json()["longest"] == 10.0
    assert judge(during, p99=1.0, errors=None).outcome is Outcome.FAILED


def test_a_p99_is_held_against_its_limit_and_of_too_few_statements_it_is_unknown():
    slow = phase([*sent(ENOUGH - 2, 0.01), *sent(2, 3.0)], 0, 1)
    assert judge(slow, p99=1.0, errors=None).outcome is Outcome.FAILED
    assert judge(slow, p99=5.0, errors=None).outcome is Outcome.PASSED
    few = judge(phase(sent(ENOUGH - 1, 0.01), 0, 1), p99=1.0, errors=None)
    assert (few.outcome, f"p99 of {ENOUGH - 1} statements, of at least {ENOUGH}: no data" in few.seen) == (
        Outcome.UNKNOWN,
        True,
    )


def test_errors_are_held_against_their_share_and_no_statement_is_no_success():
    half = phase([*sent(50, 0.01), *sent(50, 0.01, error="42703")], 0, 1)
    assert judge(half, p99=None, errors=0.1).outcome is Outcome.FAILED
    assert judge(half, p99=None, errors=0.5).outcome is Outcome.PASSED
    assert judge(half, p99=None, errors=None).outcome is Outcome.PASSED
    nothing = phase([], 0, 1)
    for limits in ({"p99": 1.0, "errors": None}, {"p99": None, "errors": 0.1}, {"p99": None, "errors": None}):
        assert judge(nothing, **limits).outcome is Outcome.UNKNOWN


def test_a_rule_cannot_be_refused_and_ignored():
    with pytest.raises(ValidationError, match="both refused and ignored"):
        Rehearsal.model_validate({"review": {"refuse": ["ban-drop-table"], "ignore": ["ban-drop-table"]}})
