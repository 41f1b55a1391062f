"""Fills the checklist of a release's system in, from the facts of the release."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from tasks.domain.checklist import PHASES, By, Cover, coverage, read_checklist
from tasks.domain.filling import Filled, Found, Standing, fill
from tasks.domain.marks import MARKS, Mark
from tasks.domain.outcome import Outcome
from tasks.domain.release import TERMINAL, Phase, State
from tasks.reporting.values import CheckRun, Period, ReleaseFacts
from tasks.reporting.words import counted, duration
from tasks.spec.checklist import Timing, claims_of
from tasks.spec.release_file import ReleaseFile

_STANDING = {
    Outcome.PASSED: Standing.PASSED,
    Outcome.FAILED: Standing.FAILED,
    Outcome.UNKNOWN: Standing.UNKNOWN,
}
_NEVER = Found(Standing.NOT_REACHED, "not reached")
_NO_WAY_BACK = Found(Standing.NOT_REACHED, "no rollback was called for", uncalled=True)
_NOT_TURNED = Found(Standing.NOT_REACHED, "done by golive disable and enable, when they are called for", uncalled=True)
_NOT_OF_THIS_ROLLOUT = Found(Standing.NOT_REACHED, "the rollout of this release has no such step", uncalled=True)
_MARKS = {mark.name: mark for mark in MARKS}


def filled_in(facts: ReleaseFacts, file: ReleaseFile, checklist_text: str) -> tuple[Filled, ...]:
    """Return the rows of the checklist that is on record with a release as they stand; none if there is none.

    Raises `ReleaseFileError` if what is on record cannot be read any more.
    """
    rows = coverage(read_checklist(checklist_text), claims_of(file)) if checklist_text else ()
    timings = {timing.words: timing for timing in file.checklist.timings}
    return fill(rows, lambda cover: _found(facts, cover, timings))


def _found(facts: ReleaseFacts, cover: Cover, timings: Mapping[str, Timing]) -> Found:
    if cover.by is By.TIMING:
        return _of_timing(facts, timings[cover.name])
    if cover.by is By.CHECK:
        return _of_check(facts, cover.name)
    if cover.by is By.SIGNATURE:
        return _of_role(facts, cover.name)
    if cover.by is By.SWITCH:
        return _NOT_TURNED
    return _of_document(facts, cover.name) if cover.by is By.DOCUMENT else _of_mark(facts, _MARKS[cover.name])


def _of_check(facts: ReleaseFacts, name: str) -> Found:
    """Return what a check saw last of what is released.

    What it saw of the previous version says nothing of the new one. What passed on the copy is not yet so in
    production, but what failed there is not mended by a release that stops.
    """
    runs = [run for run in facts.checks if run.name == name and run.phase not in ("rollback", "rehearse old")]
    live = [run for run in runs if not run.phase.startswith("rehearse")]
    if not runs:
        return _NEVER
    last = max(live or runs, key=lambda run: run.at)
    if not live and last.outcome is Outcome.PASSED:
        return Found(Standing.NOT_REACHED, f"on the copy: {last.seen}", last.at)
    return Found(_STANDING[last.outcome], f"{last.seen}{_before(live, last)}", last.at)


def _before(runs: Sequence[CheckRun], last: CheckRun) -> str:
    looks = sum(run.times for run in runs)
    bad = sum(run.times for run in runs if run.outcome is not Outcome.PASSED)
    if last.outcome is Outcome.PASSED and bad:
        return f" (not so in {bad} of {looks} looks)"
    return f" ({looks} looks)" if looks > 1 and last.outcome is Outcome.PASSED else ""


def _of_role(facts: ReleaseFacts, role: str) -> Found:
    signed = [one for one in facts.signatures if one.role == role]
    if not signed:
        return Found(Standing.NOT_REACHED, "not signed")
    last = signed[-1]
    said = f": {last.reason}" if last.reason else ""
    if last.decision == "reject":
        return Found(Standing.FAILED, f"{last.person} said no{said or ': no reason given'}", last.at)
    if last.decision == "waive":
        return Found(Standing.WAIVED, f"waived by {last.person}{said}", last.at)
    people = dict.fromkeys(one.person for one in signed if one.decision == "approve")
    return Found(Standing.SIGNED, f"signed by {', '.join(people)}{said}", last.at)


def _of_mark(facts: ReleaseFacts, mark: Mark) -> Found:
    if mark.check:
        return _of_check(facts, mark.check)
    found = _of_phase(facts, mark) if mark.state is not None else _of_step(facts, mark)
    if found is None and mark.only_back:
        return _NO_WAY_BACK
    return found or (_NOT_OF_THIS_ROLLOUT if _deployed(facts) and mark.phases == (Phase.DEPLOY,) else _NEVER)


def _deployed(facts: ReleaseFacts) -> bool:
    """Tell whether the new version has taken over, so that a step which was not made is not to come either."""
    return any(period.name == State.DEPLOY and period.outcome is Outcome.PASSED for period in facts.periods)


def _of_phase(facts: ReleaseFacts, mark: Mark) -> Found | None:
    alone, period = facts.scope == mark.name, _period(facts, mark.name)
    if period is None:
        return None
    if period.ended is None:
        return Found(Standing.NOT_REACHED, "under way", period.began)
    seen = f"took {duration(period.seconds)}" + ("" if period.outcome is Outcome.PASSED else f", {period.ending}")
    if alone and facts.state != State.DONE:
        return Found(Standing.FAILED, f"{seen}, {facts.state}", period.ended)
    return Found(_STANDING[period.outcome], seen, period.ended)


def _of_timing(facts: ReleaseFacts, timing: Timing) -> Found:
    """Return how long it took; what is still under way fails only once it has taken too long."""
    since, until = _period(facts, timing.since), _period(facts, timing.until or timing.since)
    if since is None:
        return _NO_WAY_BACK if _MARKS[timing.since].only_back else _NEVER
    end = None if until is None else until.ended if timing.at == "end" else until.began
    took = ((end or _made(facts)) - since.began).total_seconds()
    seen = f"{duration(took)} ≤ {duration(timing.at_most)}"
    if took > timing.at_most:
        return Found(Standing.FAILED, seen, end or _made(facts))
    if end is None:
        return Found(Standing.NOT_REACHED, "not reached" if until is None else "under way", since.began)
    return Found(Standing.PASSED, seen, end)


def _period(facts: ReleaseFacts, phase: str) -> Period | None:
    states = {_MARKS[phase].state, State.RUNNING if facts.scope == phase else None}
    return next((period for period in reversed(facts.periods) if period.name in states), None)


def _of_step(facts: ReleaseFacts, mark: Mark) -> Found | None:
    runs = [step for step in facts.steps if step.phase in mark.phases and step.name.startswith(mark.steps)]
    if not runs:
        return None
    last = runs[-1]
    if last.event == "started":
        return Found(Standing.UNKNOWN, f"{last.name}: no end is on record", last.began)
    seen = f"{last.name}: {last.event} in {duration(last.took)}"
    if last.event == "done":
        return Found(Standing.PASSED, seen, last.began)
    why = last.detail.get("seen")
    return Found(Standing.FAILED, f"{seen}: {why}" if why else seen, last.began)


def _of_document(facts: ReleaseFacts, name: str) -> Found:
    seen = _PARTS[name](facts)
    if not seen:
        return Found(Standing.NOT_REACHED, "not in the report yet")
    if name == "messages":
        return _of_messages(facts, seen)
    return Found(Standing.PASSED, f"in this report: {seen}", _made(facts))


def _of_messages(facts: ReleaseFacts, seen: str) -> Found:
    """Return whether what was written came to anybody: messages that wait, or were given up, have told nobody."""
    # An edit that came too late, or not at all, hides nothing that a message of its own does not tell.
    lost = [one for one in facts.messages if one.lost and not one.kind.endswith("_edit")]
    if lost:
        return Found(Standing.FAILED, f"{len(lost)} of {seen} could not be delivered; {lost[-1].lost}", lost[-1].at)
    arrived = [one for one in facts.messages if one.arrived]
    if not arrived:
        return Found(Standing.UNKNOWN, f"none of {seen} is known to have arrived", facts.messages[-1].at)
    return Found(Standing.PASSED, f"in this report: {seen}, {len(arrived)} of them delivered", arrived[-1].at)


def _made(facts: ReleaseFacts) -> datetime:
    return facts.ended or facts.gathered


def _ended(facts: ReleaseFacts) -> bool:
    return facts.ended is not None or facts.state in TERMINAL


def _issues(facts: ReleaseFacts) -> str:
    if not _ended(facts) or not facts.checks:
        return ""
    return counted(sum(run.outcome is not Outcome.PASSED for run in facts.checks), "failed or unknown check")


def _is_over(facts: ReleaseFacts) -> bool:
    return any(one.final for one in facts.stages)


def _stages(facts: ReleaseFacts) -> str:
    return "; ".join(f"{one.name}: {one.verdict}" for one in facts.stages)


def _number(many: Sequence[object], one: str, several: str = "") -> str:
    return counted(len(many), one, several) if many else ""


_PARTS: dict[str, Callable[[ReleaseFacts], str]] = {
    "release": lambda facts: f"{facts.id}, {facts.system} {facts.previous or 'nothing'} → {facts.version}",
    "started": lambda facts: f"by {facts.started_by}: {facts.reason or 'no reason given'}",
    "phases": lambda facts: _number(facts.periods, "phase"),
    "verdict": lambda facts: facts.verdict.words if _ended(facts) else "",
    "checks": lambda facts: _number(facts.checks, "result of a check", "results of checks"),
    "issues": _issues,
    "baseline": lambda facts: _number([one for one in facts.comparisons if one.now], "comparison"),
    "locks": lambda facts: _number(facts.locks, "lock"),
    "backup": lambda facts: f"{facts.backup.kind} in {facts.backup.location}" if facts.backup else "",
    "rehearsal": lambda facts: "what it measured" if facts.rehearsal else "",
    "way_back": lambda facts: facts.way_back.words if facts.way_back and facts.way_back.plan else "",
    "outages": lambda facts: _number(facts.probing.points, "probe"),
    "looks": lambda facts: _number(facts.looks, "judgement"),
    "stages": lambda facts: _stages(facts) if _is_over(facts) else "",
    "status_reports": lambda facts: _number(facts.statuses, "status report") if _is_over(facts) else "",
    "steps": lambda facts: _number(facts.steps, "step"),
    "signatures": lambda facts: _number(facts.signatures, "signature"),
    "decisions": lambda facts: _number(facts.decisions, "decision"),
    "messages": lambda facts: _number(facts.messages, "message"),
}
"""What the report tells in each of its parts that may cover a row; nothing where it has no data."""


def by_phase(rows: Sequence[Filled]) -> list[tuple[str, list[Filled]]]:
    """Return the rows of each phase, in the order of the phases."""
    phases = dict.fromkeys((*PHASES, *(row.phase for row in rows)))
    grouped = [(phase, [row for row in rows if row.phase == phase]) for phase in phases]
    return [(phase, found) for phase, found in grouped if found]
