"""Decisions made again from what is on record, for every kind of trigger, and with other limits."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest

from tasks import replaying, watching
from tasks.checks import Check
from tasks.domain.errors import ReleaseFileError, UserError
from tasks.domain.judging import Basis, basis_of, known_then
from tasks.domain.outcome import Outcome
from tasks.domain.replay import firings, held_by
from tasks.domain.triggers import Alarm, Corruption, Down, Errors, Finding, Probe, Slower
from tasks.ledger.models import Look
from tasks.ledger.models import Probe as Row
from tasks.rejudging import Record, guard_again, look_again, verdict_again
from tasks.spec.release_file import Checks, Rollback
from tasks.spec.thresholds import with_thresholds
from tasks.spec.watch import ProbePlan, Watch
from tasks.watching import Watched

LIVE = datetime(2026, 1, 6, 2, 0, tzinfo=UTC)
OF_LETTER = {"P": Outcome.PASSED, "F": Outcome.FAILED, "U": Outcome.UNKNOWN}
BASELINE = [0.1 + 0.0001 * i for i in range(240)]
P, F, U = Outcome.PASSED, Outcome.FAILED, Outcome.UNKNOWN


def after(seconds: float) -> datetime:
    return LIVE + timedelta(seconds=seconds)


def rows(letters: str, source: str = "guard", begin: float = 0.0, every: float = 30.0) -> list[Row]:
    """A probe for each letter; a dot is one that was not made."""
    return [
        Row(
            id=1000 * (source != "guard") + number,
            at=after(begin + number * every),
            check="it answers",
            outcome=OF_LETTER[letter].value,
            elapsed=0.05,
            control=None,
            source=source,
        )
        for number, letter in enumerate(letters)
        if letter != "."
    ]


class _Sums(Check):
    """An integrity check."""

    kind: str = "simulated"

    def look(self, target: Any) -> Any:
        raise AssertionError(f"a replay looks at the ledger alone, not at {target}")


def recorded(*when: Any, probes: Sequence[Row] = (), looks: Sequence[Look] = (), changed: bool = False) -> Record:
    """Return a release's record, watched with these triggers."""
    check = _Sums(name="checksums", rollback=True)
    checks = Checks.model_construct(corruption=(check,), watch=(_Sums(name="it may roll back", rollback=True),))
    file = SimpleNamespace(
        watch=Watch(probe=ProbePlan(check="it answers")),
        rollback=Rollback.model_construct(when=when),
        checks=checks,
        check=lambda _name: check,
    )
    row = SimpleNamespace(mutation_started_at=LIVE, live_at=LIVE)
    watched = Watched(SimpleNamespace(file=file, release=row))  # type: ignore[arg-type]
    watched.__dict__.update(baseline=BASELINE)
    return Record(watched, probes, looks, (), changed)


def look(findings: Sequence[Finding], judged: Any, at: float = 3600.0, **more: Any) -> Look:
    """A look of the monitor as the ledger keeps it."""
    outcome = "failed" if any(one.state is Alarm.FIRES for one in findings) else more.pop("outcome", "passed")
    found = {"findings": [watching.to_json(one) for one in findings], "checks": more.pop("checks", {})}
    return Look(
        id=more.pop("id", 1), source=more.pop("source", "monitor"), at=after(at), outcome=outcome,
        findings={**found, "judged": judged, **more},
    )  # fmt: skip


def guarded(record: Record, at: float) -> tuple[list[Finding], dict[str, Any]]:
    """What a guard or a monitor finds at a moment, and what that rests on."""
    ticks = record.ticks
    basis = basis_of([one for one in ticks if one.at <= after(at)], after(at), LIVE)
    return watching.judge_probes(record.watched, known_then(ticks, basis), after(at)), basis.as_json()


DOWN, ERRORS = "P" * 10 + "F" * 22, "P" * 10 + "FPP" * 12


@pytest.mark.parametrize(("trigger", "letters"), [(Down(), DOWN), (Errors(), ERRORS)], ids=["down", "errors"])
class TestProbes:
    def test_what_was_judged_by_probes_is_judged_the_same_again(self, trigger: Any, letters: str) -> None:
        record = recorded(trigger, probes=rows(letters))
        findings, basis = guarded(record, 30.0 * len(letters))
        decision, again = look_again(record, look(findings, basis, outcome="passed"), None)
        assert (decision.agrees, decision.why) == (P, "")
        assert again.outcome == decision.decided.split(":")[0]

    def test_what_the_guard_acted_on_is_confirmed_by_the_probes_just_before(self, trigger: Any, letters: str) -> None:
        record = recorded(trigger, probes=rows(letters))
        findings, basis = guarded(record, 30.0 * len(letters) - 29)
        assert findings[0].state is Alarm.FIRES
        acted = look(findings, basis, 30.0 * len(letters) + 10, source="guard")
        begin = 30.0 * len(letters) - 25
        for letters_after, agrees in (("FFF", P), ("PPP", F), ("", U)):
            probes = [*record.probes, *rows(letters_after, "confirmation", begin, 1.0)]
            assert guard_again(recorded(trigger, probes=probes), acted).agrees is agrees

    def test_a_decision_that_was_tampered_with_does_not_agree(self, trigger: Any, letters: str) -> None:
        record = recorded(trigger, probes=rows(letters))
        findings, basis = guarded(record, 30.0 * len(letters) - 29)
        calm = [Finding(findings[0].kind, Alarm.QUIET, findings[0].seen, findings[0].evidence)]
        decision, _ = look_again(record, look(calm, basis), None)
        assert decision.agrees is F
        assert f"replay says {findings[0].kind} fires" in decision.why
        mended = recorded(trigger, probes=rows(letters.replace("F", "P")))
        assert look_again(mended, look(findings, basis), None)[0].agrees is F

    def test_where_probes_are_missing_nothing_is_said(self, trigger: Any, letters: str) -> None:
        record = recorded(trigger, probes=rows(letters))
        findings, basis = guarded(record, 30.0 * len(letters))
        for probes, judged in ((rows(letters)[:-4], basis), (rows(letters)[4:], basis), (rows(letters), {})):
            decision, _ = look_again(recorded(trigger, probes=probes), look(findings, judged), None)
            assert decision.agrees is U
            assert "probes were judged" in decision.why


def test_a_probe_that_came_in_later_than_it_was_judged_is_left_out_again() -> None:
    late = rows("P" * 40)
    late[3].id = 100  # it took its whole time
    record = recorded(Down(), probes=sorted(late, key=lambda one: one.id))
    basis = Basis(after(600), LIVE, after(570), 19)
    assert len(known_then(record.ticks, basis)) == 19
    assert known_then(record.ticks, Basis(after(600), LIVE, after(571), 19)) == []


def test_slower_is_judged_again_by_the_answers_of_the_burst_and_the_look_before() -> None:
    slow = {"latencies": [0.25] * 30}
    record = recorded(Slower())
    first = watching.judge_burst(record.watched, slow["latencies"], None)
    assert first is not None
    before = look([first], slow)
    second = watching.judge_burst(record.watched, slow["latencies"], first)
    assert second is not None
    decision, again = look_again(record, look([second], slow, 7200.0, id=2), before)
    assert (decision.agrees, again.outcome) == (P, "failed")
    assert look_again(record, look([second], slow, 7200.0, id=2), None)[0].agrees is F
    assert look_again(record, look([second], {}, 7200.0, id=2), before)[0].why == "how long the answers took"
    laxer = recorded(Slower(than=2.0), changed=True)
    decision, again = look_again(laxer, look([second], slow, 7200.0, id=2), before)
    assert "nothing fires" in decision.replayed
    assert again.outcome == "passed"


@pytest.mark.parametrize(("seen", "state"), [("PP", "quiet"), ("F", "suspicious"), ("FF", "fires"), ("FP", "quiet")])
def test_corruption_is_judged_again_by_what_the_integrity_checks_saw(seen: str, state: str) -> None:
    record = recorded(Corruption())
    looked = [Probe(after(number), OF_LETTER[one], source="checksums") for number, one in enumerate(seen)]
    finding = watching.judge_corruption(record.watched, looked, after(10))
    assert finding is not None
    assert finding.state == state
    judged = {"integrity": watching.integrity_to_json(looked)}
    assert look_again(record, look([finding], judged), None)[0].agrees is P
    other = {"integrity": watching.integrity_to_json([Probe(LIVE, U, source="checksums")])}
    assert look_again(record, look([finding], other, outcome="passed"), None)[0].agrees is F


def test_a_check_that_may_roll_back_is_judged_again_by_the_look_before() -> None:
    record, failed = recorded(), {"it may roll back": "failed"}
    before = look([], {}, checks=failed, outcome="failed")
    fires = Finding("check", Alarm.FIRES, "it may roll back failed twice running")
    again = look([fires], {"holds": "check"}, 7200.0, checks=failed, id=2)
    assert look_again(record, again, before)[0].agrees is P
    assert look_again(record, again, None)[0].agrees is F
    another = look([fires], {"holds": None}, 7200.0, checks=failed, id=2)
    assert look_again(record, another, before)[0].why == "acted on None, and check held just before"


def test_an_outcome_that_does_not_follow_from_the_checks_does_not_agree() -> None:
    decision, _ = look_again(recorded(), look([], {}, checks={"it may roll back": "unknown"}), None)
    assert (decision.agrees, decision.why) == (F, "its outcome was passed")


def test_a_look_that_could_not_be_made_is_as_it_was() -> None:
    hindered = look([Finding("look", Alarm.UNKNOWN, "SecretMissing")], {}, outcome="unknown")
    assert look_again(recorded(Down(), Slower()), hindered, None)[0].agrees is P


def test_a_verdict_is_given_again_by_the_probes_and_the_looks_before_it() -> None:
    from tasks.closing import verdict_on

    letters = "P" * 115 + "F" + "P" * 4
    record = recorded(probes=rows(letters))
    looks = [look([], {}, checks={"it may roll back": "passed"})]
    probes, until = [watching.as_probe(one) for one in record.probes], after(3600)
    verdict = verdict_on(record.watched, probes, looks, LIVE, until, [])
    assert verdict.ended == "stable"
    judged = {"from": LIVE.isoformat(), "until": until.isoformat(), "probes": len(probes)}
    said = {**verdict.evidence, "seen": verdict.seen, "ended": "stable", "judged": judged}
    ended = Look(id=2, source="verdict", at=until, outcome="passed", findings=said)
    again = verdict_again(record, ended, looks)
    assert again is not None
    assert (again.agrees, again.why) == (P, "")
    fewer = verdict_again(recorded(probes=rows(letters[:-1])), ended, looks)
    assert fewer is not None
    assert (fewer.agrees, fewer.why) == (U, "120 probes were judged, and 119 are on record")
    worse = verdict_again(recorded(probes=rows(letters.replace("FP", "FF"))), ended, looks)
    assert worse is not None
    assert worse.agrees is F
    assert "error rate 1.67%" in worse.replayed
    unknown = Look(id=2, source="verdict", at=until, outcome="passed", findings={**said, "ended": "inconclusive"})
    other = verdict_again(record, unknown, looks)
    assert other is not None
    assert other.why == "differs in ended"


class TestFirings:
    def fired(self, letters: str, *when: Any) -> list[Any]:
        record = recorded(*when, probes=rows(letters))
        judge = partial(watching.judge_probes, record.watched)
        return firings(record.ticks, judge, watching.window_of(record.watched), LIVE)

    def test_a_stretch_in_which_a_trigger_fires_is_told_once_with_its_first_moment(self) -> None:
        (found,) = self.fired("P" * 20 + "F" * 30 + "P" * 20, Down())
        assert (found.at, found.until) == (after(30 * 40 + 0.05), after(30 * 49 + 0.05))
        assert found.holds is P

    def test_a_stricter_limit_fires_earlier_and_a_laxer_one_never(self) -> None:
        letters = "P" * 40 + "FPPPP" * 12 + "P" * 20
        assert self.fired(letters, Errors()) == []
        assert self.fired(letters, Errors(above=0.05))[0].finding.kind == "errors"
        assert self.fired("P" * 20 + "F" * 25 + "P", Down(for_=300.0))[0].at == after(30 * 30 + 0.05)
        assert self.fired("P" * 20 + "F" * 25 + "P", Down(for_=3000.0)) == []

    @pytest.mark.parametrize(
        ("kind", "letters", "holds"),
        [
            ("down", "FFF", P), ("down", "FF", U), ("down", "FP", F), ("down", "", U), ("errors", "PPPF", P),
            ("errors", "P" * 10, F), ("errors", "P" * 9, U), ("corruption", "", P),
        ],
    )  # fmt: skip
    def test_whether_it_would_have_been_confirmed_is_seen_by_the_probes_after_it(
        self, kind: str, letters: str, holds: Outcome
    ) -> None:
        assert held_by(kind, [watching.as_probe(one) for one in rows(letters)]) is holds


FILE = """
system: shop
base_url: http://127.0.0.1:8080
database: {dsn: "${env:DSN}"}
source: {kind: directory, path: /versions}
platform: {kind: supervisor, processes: {web: {command: ["true"]}}}
rollout: {kind: recreate, port: 8080}
migration: {kind: none}
checks:
  compatibility: [{kind: http, name: it is there, url: "http://127.0.0.1/"}]
  watch: [{kind: http, name: it answers, url: "http://127.0.0.1/"}]
watch: {every: 1h, for: 24h, probe: {every: 30s, check: it answers}}
rollback: {when: [{kind: down, for: 10m}, {kind: errors, above: 20%}]}
"""


def test_limits_are_changed_one_by_one_or_taken_from_another_file() -> None:
    given = ["errors.above=10%", "slower.than=30%", "success.slower=20%", "watch.coverage=0.9"]
    file = with_thresholds(FILE, "release.yaml", given)
    assert file.rollback.when == (Down(), Errors(above=0.1), Slower(than=0.3))
    assert (file.watch.success.slower, file.watch.coverage) == (0.2, 0.9)
    other = "rollback: {when: [{kind: down, for: 5m}]}\nwatch: {every: 1m, success: {errors: 2%}}\nnotify: []"
    file = with_thresholds(FILE, "release.yaml", ["down.for=6m"], other)
    assert file.rollback.when == (Down(for_=360.0),)
    assert file.watch.success.errors == 0.02
    assert file.watch.every == 3600.0, "what was looked at stays as it was"


@pytest.mark.parametrize(
    "wrong", ["errors.above", "errors=10%", "watch.every=1m", "rollback.automatic=false", "a=[", ""]
)
def test_what_is_no_limit_is_refused_with_what_would_be_one(wrong: str) -> None:
    with pytest.raises(UserError, match=r"errors\.above=10%"):
        with_thresholds(FILE, "release.yaml", [wrong])


def test_a_limit_that_does_not_fit_is_told_with_its_place() -> None:
    with pytest.raises(ReleaseFileError, match=r"rollback\.when\.1\.above"):
        with_thresholds(FILE, "release.yaml", ["errors.above=2"])
    for other in ("- a", "a: [", "system: shop"):
        with pytest.raises(UserError):
            with_thresholds(FILE, "release.yaml", (), other)


def test_what_fires_while_something_else_is_acted_on_is_not_missed_and_what_nobody_saw_is_told() -> None:
    when, letters = (Down(for_=870.0), Errors()), "P" * 30 + "F" * 32

    def decided(*looks: Look, confirmations: str = "") -> list[Outcome]:
        """What a replay makes of an outage that is one of errors too."""
        probes = [*rows(letters), *rows(confirmations, "confirmation", 1772.0, 1.0)]
        record = recorded(*when, probes=probes, looks=looks)
        fired = replaying._fired(record, None)
        assert {one.finding.kind for one in fired} == {"down", "errors"}
        return [one.agrees for one in replaying._of_guard(record, fired, None)]

    assert decided() == [F, F, P], "nobody acted on either"
    assert decided(confirmations="FFP") == [P, U, P], "no outage any more; of the errors nothing is on record"
    findings, basis = guarded(recorded(*when, probes=rows(letters)), 1770.5)
    assert [one.state for one in findings] == [Alarm.FIRES] * 2
    acted = look(findings[:1], basis, 1780.0, source="guard")
    assert decided(acted, confirmations="FFF") == [P, P]
