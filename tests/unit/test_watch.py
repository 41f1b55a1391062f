from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tasks.domain.outcome import Outcome
from tasks.domain.traffic import Counted, Traffic
from tasks.domain.triggers import Alarm, Finding, Probe
from tasks.domain.watch import Criteria, Ended, WatchVerdict, signal, watch_verdict

START = datetime(2026, 1, 6, 2, 0, tzinfo=UTC)
DAY = START + timedelta(days=1)
P, F, U = Outcome.PASSED, Outcome.FAILED, Outcome.UNKNOWN


def a_day(failures: int = 0, made: int = 2880) -> list[Probe]:
    return [Probe(START + timedelta(seconds=30 * i), F if i < failures else P, 0.05) for i in range(made)]


def verdict(looks: list[Probe], **more: Any) -> WatchVerdict:
    return watch_verdict(looks, START, DAY, 30.0, **more)


@pytest.mark.parametrize(
    ("outcomes", "state"),
    [
        ([], U),
        ([P], U),
        ([P, P], P),
        ([P, P, F, F], P),
        ([P, P, F, F, F], F),
        ([P, P, F, U, F, F], F),
        ([F, F, F, P], F),
        ([F, F, F, P, P], P),
        ([F, F, F, P, F, P, P], P),
    ],
)
def test_three_failures_in_a_row_raise_the_alarm_and_two_successes_resolve_it(outcomes, state):
    assert signal(outcomes).outcome is state


def test_four_changes_in_twenty_looks_are_flapping():
    assert not signal([P, P, F, F, P, P, F]).flapping
    assert signal([P, F, P, F, P]).flapping
    assert not signal([P, F, P, F, P, *[P] * 18]).flapping


def test_a_clean_day_is_stable():
    seen = verdict(a_day(10), findings=[Finding("down", Alarm.QUIET, "")], critical=[P])
    assert seen.ended is Ended.STABLE
    assert seen.seen == "10 of 2880 probes failed, 100% of the expected probes made"
    assert 0.003 < seen.evidence["error_rate_at_most"] < 0.01


def test_requests_of_clients_are_held_against_the_same_limit_where_there_are_enough():
    def with_clients(asked: int, failed: int) -> WatchVerdict:
        looks = a_day()
        clients = Counted(looks[100].at, 60.0, Traffic(asked, failed))
        return verdict([*looks[:100], replace(looks[100], clients=clients), *looks[101:]])

    bad = with_clients(1000, 12)
    assert bad.ended is Ended.INCONCLUSIVE
    assert "12 of 1000 requests of clients failed: 1.20% ≥ 1%" in bad.seen
    assert not bad.may_mend
    good = with_clients(1000, 5)
    assert good.ended is Ended.STABLE
    assert good.evidence["clients"] == {"asked": 1000, "failed": 5}
    assert "5 of 1000 requests of clients failed" in good.seen
    assert with_clients(20, 5).ended is Ended.STABLE


@pytest.mark.parametrize(
    ("looks", "more", "reason"),
    [
        ([], {}, "no probe"),
        (a_day(made=2200), {}, "coverage 76% < 80%"),
        (a_day(29), {}, "error rate 1.01% ≥ 1%"),
        (a_day(), {"findings": [Finding("down", Alarm.FIRES, "down for 11 min")]}, "down fires: down for 11 min"),
        (a_day(), {"findings": [Finding("slower", Alarm.UNKNOWN, "no baseline")]}, "slower unknown"),
        (a_day(), {"critical": [P, F]}, "1 of 2 critical checks failed"),
        (a_day(), {"critical": [P, U]}, "1 of 2 critical checks unknown"),
    ],
)
def test_what_is_not_shown_to_be_stable_is_inconclusive(looks, more, reason):
    seen = verdict(looks, **more)
    assert seen.ended is Ended.INCONCLUSIVE
    assert reason in seen.seen


def test_ticks_that_are_a_little_late_or_early_are_none_missed():
    late = [replace(one, at=one.at + timedelta(seconds=(-0.4, 0.3, 9.0)[i % 3])) for i, one in enumerate(a_day())]
    assert verdict(late).evidence["coverage"] > 0.999
    exact = [Probe(START + timedelta(seconds=0.1) * i, P, 0.05) for i in range(1000)]
    seen = watch_verdict(exact, START, START + timedelta(seconds=100), 0.1).evidence
    assert (seen["made"], seen["coverage"]) == (1000, 1.0)


def test_a_burst_does_not_make_up_for_hours_in_which_nobody_looked():
    burst = [Probe(START + timedelta(milliseconds=i), P, 0.05) for i in range(2880)]
    assert verdict(burst).ended is Ended.INCONCLUSIVE


BASELINE = [0.04] * 240


@pytest.mark.parametrize(
    ("more", "reason", "may_mend"),
    [
        ({"criteria": Criteria(slower=0.10), "baseline": BASELINE}, "median 50 ms > 1.1 × 40 ms before", False),
        ({"criteria": Criteria(slower=0.10), "baseline": BASELINE[:9]}, "against a baseline of 9", True),
        ({"criteria": Criteria(errors=0.001)}, "error rate 0.10% ≥ 0.1%", False),
        ({"criteria": Criteria(coverage=1.0), "looks": a_day(3, 2800)}, "coverage 97% < 100%", True),
        ({"critical": [F], "looks": []}, "no probe came to a result", False),
        ({"critical": [U]}, "1 of 1 critical checks unknown", True),
    ],
)
def test_a_verdict_is_by_the_criteria_and_says_whether_time_may_mend_it(more, reason, may_mend):
    seen = verdict(more.pop("looks", a_day(3)), **more)
    assert seen.ended is Ended.INCONCLUSIVE
    assert reason in seen.seen
    assert seen.may_mend is may_mend


@pytest.mark.parametrize("criteria", [Criteria(slower=0.10, floor=0.02), Criteria(slower=0.3), Criteria()])
def test_a_median_within_its_limit_or_its_floor_is_stable(criteria):
    assert verdict(a_day(), criteria=criteria, baseline=BASELINE).ended is Ended.STABLE
