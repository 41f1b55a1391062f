"""How many measurements an alert says that it rests on: what was counted, and nothing else."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tasks.alerting import counted_unmade
from tasks.domain.counting import of_check, of_finding, of_look
from tasks.domain.outcome import Measurement, Outcome, Reading
from tasks.domain.triggers import Alarm, Corruption, Down, Errors, Finding, Probe, Slower, judge, slower
from tests.unit.test_alerting import look

AT = datetime(2026, 11, 22, 2, tzinfo=UTC)
P, F, U = Outcome.PASSED, Outcome.FAILED, Outcome.UNKNOWN


def probes(*outcomes: Outcome, source: str = "API") -> list[Probe]:
    return [Probe(AT + timedelta(seconds=30 * n), one, 0.1, None, source) for n, one in enumerate(outcomes)]


def measured(check: str, outcome: Outcome, *, advisory: bool = False) -> Measurement:
    return Measurement(check, "http", Reading(outcome, "503"), AT, 0.1, advisory)


def judged(trigger: Down | Errors | Corruption, seen: list[Probe]) -> Finding:
    return judge(trigger, seen, seen[-1].at + timedelta(seconds=1), 30.0)


def test_each_finding_says_how_much_it_rests_on_by_what_it_has_counted() -> None:
    down = judged(Down(), probes(P, *[F] * 22))
    errors = judged(Errors(), probes(*[F, P] * 20))
    few = judged(Errors(), probes(*[P] * 12))
    assert (down.state, of_finding(down)) == (Alarm.FIRES, "22 probes in a row failed, of 22 due")
    assert of_finding(errors) == f"{errors.evidence['failed']} of {errors.evidence['total']} probes failed"
    assert (few.state, of_finding(few)) == (Alarm.UNKNOWN, "12 probes that count")
    assert of_finding(slower(Slower(), [0.3] * 30, [0.1] * 240)) == "30 answers against 240 before the release"
    twice = judged(Corruption(), probes(F, F, source="amcheck"))
    assert (twice.state, of_finding(twice)) == (Alarm.FIRES, "the last 2 measurements of amcheck failed")


@pytest.mark.parametrize(
    "finding",
    [
        judge(Down(), [], AT, 30.0),
        judge(Corruption(), [], AT, 30.0),
        Finding("look", Alarm.UNKNOWN, "TimedOut: the ledger"),
        Finding("gate live", Alarm.FIRES, "ann (ops) said no"),
    ],
)
def test_what_has_counted_nothing_names_no_number(finding: Finding) -> None:
    assert of_finding(finding) == ""


def test_a_check_counts_its_own_measurements_over_the_looks() -> None:
    before = [{"API": "passed"}, {"API": "failed"}, {"search": "failed"}, {"API": "failed"}]
    assert of_check("API", F, before) == "3 of 4 measurements of API failed, the last 3 in a row"
    assert of_check("API", U, before) == "1 of 4 measurements of API came out unknown"
    assert of_check("API", F, []) == "1 of 1 measurement of API failed"


def test_a_look_counts_what_is_wrong_or_where_nothing_is_all_that_passed() -> None:
    fires = Finding("errors", Alarm.FIRES, "…", {"failed": 56, "total": 180, "of": "probes"})
    quiet = Finding("errors", Alarm.QUIET, "…", {"failed": 1, "total": 180, "of": "probes"})
    seen = [measured("API", F), measured("search", P), measured("advice", F, advisory=True)]
    assert of_look([fires], seen, [{"API": "failed"}]) == (
        "56 of 180 probes failed; 2 of 2 measurements of API failed, the last 2 in a row"
    )
    assert of_look([quiet], seen[1:], []) == "1 measurement, all passed; 1 of 180 probes failed"
    assert of_look([], [], []) == ""


def test_a_check_that_rolls_back_says_how_often_it_failed_even_if_it_is_advisory() -> None:
    finding = Finding("check", Alarm.FIRES, "API failed twice running")
    seen = [measured("API", F, advisory=True), measured("other", F, advisory=True)]
    said = "2 of 2 measurements of API failed, the last 2 in a row"
    assert of_look([finding], seen, [{"API": "failed"}]) == said
    assert of_look([finding], [measured("API", F)], [{"API": "failed"}]) == said, "said once"
    assert of_finding(finding, seen, [{"API": "failed"}]) == said


def test_looks_that_could_not_be_made_are_counted_as_such() -> None:
    unmade, made = look(1, {}, ("look", "unknown")), look(2, {"API": "passed"})
    assert counted_unmade([]) == "1 look could not be made"
    assert counted_unmade([unmade, made, unmade]) == "2 looks in a row could not be made"
