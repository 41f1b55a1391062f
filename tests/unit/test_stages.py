"""When looks of the later stages are due, and what of them a release file may say."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tasks.domain.errors import ReleaseFileError
from tasks.domain.stages import Due, Plan, begins, due, schedule
from tasks.spec import loading
from tasks.spec.watch import Watch
from tests.unit.test_release_file import SMALL

START = datetime(2026, 1, 6, 2, 0, tzinfo=UTC)
DAY = timedelta(days=1)
PLANS = [Plan(86400, 7 * 86400, 7), Plan(7 * 86400, 28 * 86400, 4)]
STAGES = Watch.model_validate({"then": [{}, {"every": "7d", "for": "28d"}]}).then


def test_a_week_of_days_and_a_month_of_weeks_are_eleven_looks() -> None:
    looks = list(schedule(PLANS, START))
    assert [(one.stage, one.number) for one in looks] == [
        *((0, n) for n in range(1, 8)),
        *((1, n) for n in range(1, 5)),
    ]
    assert [(one.at - START).days for one in looks] == [1, 2, 3, 4, 5, 6, 7, 14, 21, 28, 35]
    assert [one.number for one in looks if one.last] == [7, 4]
    assert begins(PLANS, START) == [START, START + 7 * DAY, START + 35 * DAY]
    assert [stage.looks for stage in STAGES] == [7, 4]


def test_a_stage_that_is_no_multiple_of_its_pace_has_its_last_look_at_its_end() -> None:
    (stage,) = Watch.model_validate({"then": [{"every": "10h", "for": "24h"}]}).then
    looks = schedule([Plan(stage.every, stage.for_, stage.looks)], START)
    assert [(one.at - START).total_seconds() / 3600 for one in looks] == [10, 24]


@pytest.mark.parametrize(
    ("done", "now", "numbers"),
    [
        (None, 0.9, []),
        (None, 1.0, [1]),
        (None, 3.5, [1, 2, 3]),
        (3, 3.9, []),
        (3, 4.1, [4]),
        (6, 15, [7, 1]),
        (35, 400, []),
    ],
)
def test_what_is_due_is_what_nothing_on_record_stands_for(done: int | None, now: float, numbers: list[int]) -> None:
    found: list[Due] = due(PLANS, START, START + done * DAY if done is not None else None, START + now * DAY)
    assert [one.number for one in found] == numbers


CHECKED = SMALL.replace(
    "checks:\n", "checks:\n  review: [{kind: sql, name: all is well, query: SELECT 1, equals: 1}]\n"
)


@pytest.mark.parametrize(
    ("watch", "said"),
    [
        ("{}", "release.yaml:13: checks.review.0.name: 'all is well' is never made"),
        ("{at: {0s: [all is wel]}}", "watch.at: 'all is wel' is named here, which is no check; expected one of phase"),
        ("{at: {1h: [all is well, it can be read]}}", "a check of phase compatibility"),
        ("{then: [{checks: [all is well]}, {checks: [nothing]}]}", "watch.then.1.checks.0: 'nothing' is named here"),
        ("{at: {25h: [all is well]}}", "at 25 h the watch of 24 h is over"),
        ("{at: {soon: [all is well]}}", "'soon' is not a duration"),
        ("{then: [{every: 0s, checks: [all is well]}]}", "greater than 0"),
        ("{success: {slowr: 10%}, then: [{checks: [all is well]}]}", "did you mean slower?"),
    ],
)
def test_what_does_not_fit_in_a_watch_is_told_with_its_place(watch: str, said: str) -> None:
    with pytest.raises(ReleaseFileError) as caught:
        loading.parse(f"{CHECKED}watch: {watch}\n")
    assert said in str(caught.value)


def test_a_watch_as_it_was_written_before_stages_were_there_still_loads() -> None:
    file = loading.parse(f"{SMALL}watch: {{every: 1h, for: 24h, probe: {{every: 30s, check: it answers}}}}\n")
    assert (file.watch.at, file.watch.then) == ({}, ())
