"""Leads a simulated day through golive's own judging: what guard and monitor would have done, and the verdict."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks import watching
from tasks.checks import Check
from tasks.domain.judging import ERROR_CONFIRMATIONS
from tasks.domain.outages import AGAIN
from tasks.domain.outcome import Outcome, Reading
from tasks.domain.timetable import AGAIN_TIMES
from tasks.domain.traffic import Counted, Traffic
from tasks.domain.triggers import GAP, MADE, Alarm, Down, Errors, Finding, Probe, Slower, burst_until_sure, judge
from tasks.domain.watch import Ended, watch_verdict
from tasks.reporting.deriving import probing_of
from tasks.spec.release_file import Rollback
from tasks.spec.watch import ProbePlan, Watch
from tasks.watching import Watched
from tests.simulation.releases import COUNTED, DAY, INTERVAL, Day

LIVE = datetime(2026, 1, 6, 2, 0, tzinfo=UTC)
DOWN, ERRORS, SLOWER = Down(), Errors(), Slower()
PLANNED = Watch(probe=ProbePlan(check="it answers"))
ANSWERING = Rollback(when=(DOWN, ERRORS, SLOWER))
FEW = 8
"""With fewer failures in a window of `WINDOW` seconds no trigger can fire: `errors` takes 11 of 30, and `down` 18."""
WINDOW = max(DOWN.for_ + GAP * INTERVAL, ERRORS.for_ / MADE) + INTERVAL


@dataclass(frozen=True)
class Judged:
    """What became of a release: by which trigger it was rolled back and when, else the verdict.

    ``said`` is how long it had been down by what fired, ``lengths`` the outages as a report tells them, in seconds.
    """

    by: str = ""
    at: float = np.inf
    said: float = np.nan
    ended: Ended | None = None
    lengths: tuple[float, ...] = ()


class _Asked(Check):
    """The check of a simulated service, asked when a finding is confirmed."""

    kind: str = "simulated"

    def look(self, target: Any) -> Reading:
        reading: Reading = target.look()
        return reading


@dataclass
class _World:
    """The outside at one moment of a simulated day, as far as a confirmation asks for it."""

    day: Day
    now_is: float
    rng: np.random.Generator

    @property
    def clock(self) -> Any:
        return SimpleNamespace(now=lambda: moment(self.now_is), monotonic=lambda: self.now_is)

    @property
    def world(self) -> Any:
        return SimpleNamespace(clock=self.clock, secrets=SimpleNamespace(mask=lambda text: text))

    def count_anew(self) -> Counted | None:
        """Return what so many requests come to as a confirmation waits for."""
        fail = float(self.day.clients_fail[np.searchsorted(self.day.ticks, self.now_is, "right") - 1])
        failed = int(self.rng.binomial(ERROR_CONFIRMATIONS, fail))
        return Counted(moment(self.now_is), COUNTED, Traffic(ERROR_CONFIRMATIONS, failed))

    def look(self) -> Reading:
        failed = self.rng.random() < self.day.fails_at(self.now_is)
        return Reading(Outcome.FAILED if failed else Outcome.PASSED, "simulated")


@dataclass
class _Burst:
    """Hands out the answers of one look, as many as are asked for; a failed one is none."""

    answers: NDArray[np.float64]
    asked: int = 0

    def __call__(self, count: int) -> list[float]:
        some = self.answers[self.asked : self.asked + count]
        self.asked += count
        return [float(one) for one in some if not np.isnan(one)]


class _Simulated(Watched):
    """A release under watch whose target is simulated."""

    def __init__(self, target: _World | None = None) -> None:
        file = SimpleNamespace(watch=PLANNED, rollback=ANSWERING)
        super().__init__(SimpleNamespace(file=file))  # type: ignore[arg-type]
        self.__dict__.update(target=target, probe=_Asked(name="it answers"), clients=target)


def moment(seconds: float) -> datetime:
    """Return a moment of the simulated day."""
    return LIVE + timedelta(seconds=seconds)


def judged(day: Day, rng: np.random.Generator) -> Judged:
    """Return what golive would have made of a day, by the functions that its guard and its monitor call."""
    probes = [
        Probe(moment(at), Outcome.FAILED if code else Outcome.PASSED, took, _control(code, astray), "it answers")
        for at, code, took, astray in zip(
            day.at.tolist(), day.failed_probes.tolist(), day.elapsed.tolist(), day.astray.tolist(), strict=True
        )
    ]
    for number, (asked, failed) in enumerate(day.clients.tolist()):
        if asked >= 0:
            counted = Counted(probes[number].at, COUNTED, Traffic(asked, failed))
            probes[number] = replace(probes[number], clients=counted)
    findings, by_monitor = _monitor(day, probes, rng)
    fired = [one for one in (_guard(day, probes, rng), by_monitor) if one is not None]
    lengths = _lengths(day, probes, rng) if day.fault.outage else ()
    if fired:
        first = min(fired, key=lambda one: one.at)
        return replace(first, lengths=lengths)
    findings += watching.judge_outages(_Simulated(), probes)
    verdict = watch_verdict(probes, LIVE, moment(DAY), INTERVAL, findings=findings)
    return Judged(ended=verdict.ended, lengths=lengths)


def _control(failed: bool, astray: bool) -> Outcome | None:
    return (Outcome.FAILED if astray else Outcome.PASSED) if failed else None


def _lengths(day: Day, probes: Sequence[Probe], rng: np.random.Generator) -> tuple[float, ...]:
    """Return how long each outage was by the report, with second looks after a tick that failed until one passes."""
    rows: list[Any] = []
    near = np.convolve(day.failed, [True, True, True], "same") > 0  # the others, which passed, change no length
    for one, at in zip(itertools.compress(probes, near), day.at[near].tolist(), strict=True):
        rows.append(_row(one.at, one.outcome, one.control, watching.TICK))
        failed, looks = one.outcome is Outcome.FAILED, itertools.count(1)
        while failed and (number := next(looks)) < AGAIN_TIMES:
            again = at + INTERVAL * number / AGAIN_TIMES
            failed = bool(rng.random() < day.fails_at(again))
            rows.append(_row(moment(again), Outcome.FAILED if failed else Outcome.PASSED, None, AGAIN))
    return tuple(outage.seconds for outage in probing_of(rows, LIVE, moment(DAY)).outages)


def _row(at: datetime, outcome: Outcome, control: Outcome | None, source: str) -> Any:
    return SimpleNamespace(at=at, check="it answers", outcome=outcome, elapsed=None, control=control, source=source)


def _guard(day: Day, probes: Sequence[Probe], rng: np.random.Generator) -> Judged | None:
    """Return what the guard rolls back for, judging after each probe at which anything may fire."""
    watched = _Simulated()
    begins = np.searchsorted(day.at, day.at - watching.window_of(watched))
    sums = np.concatenate([[0], np.cumsum(day.failed)])
    lately = sums[1:] - sums[np.searchsorted(day.at, day.at - WINDOW)]
    for tick in np.flatnonzero((lately >= FEW) | _clients_fail(day)).tolist():
        now = float(day.at[tick] + day.elapsed[tick])
        window = probes[begins[tick] : tick + 1]
        fired = _first(day, watching.judge_probes(watched, window, moment(now)), now, rng)
        if fired is not None:
            return fired
    return None


def _clients_fail(day: Day) -> NDArray[np.bool_]:
    """Return at which probes the clients' requests of the last window fail so often that a trigger might fire."""
    if not day.clients.size:
        return np.zeros(day.at.size, dtype=bool)
    sums = np.concatenate([[[0, 0]], np.cumsum(day.clients.clip(min=0), axis=0)])
    asked, failed = (sums[1:] - sums[np.searchsorted(day.at, day.at - WINDOW)]).T
    may: NDArray[np.bool_] = failed > ERRORS.above / 2 * asked
    return may


def _monitor(day: Day, probes: Sequence[Probe], rng: np.random.Generator) -> tuple[list[Finding], Judged | None]:
    """Return the last findings of the monitor, and what it rolls back for."""
    watched, baseline = _Simulated(), sorted(day.baseline.tolist())
    span = watching.window_of(watched)
    findings: list[Finding] = []
    may = _clients_fail(day)
    for at, burst in zip(day.looks.tolist(), day.bursts, strict=True):
        begin, latest, end = np.searchsorted(day.at, [at - span, at - WINDOW, at]).tolist()
        previous = next((one for one in findings if one.kind == "slower"), None)
        took = burst_until_sure(SLOWER, baseline, watching.BURST, _Burst(burst))
        answers = [Probe(moment(at), Outcome.PASSED, one) for one in took]
        findings = [judge(SLOWER, answers, moment(at), INTERVAL, baseline=baseline, previous=previous)]
        # The verdict asks for the last look's findings.
        if at == day.looks[-1] or np.count_nonzero(day.failed[latest:end]) >= FEW or may[latest:end].any():
            window = probes[begin:end]
            findings[:0] = watching.judge_probes(watched, window, watching.as_of(window, moment(at)))
        fired = _first(day, findings, at, rng)
        if fired is not None:
            return findings, fired
    return findings, None


def _first(day: Day, findings: Sequence[Finding], now: float, rng: np.random.Generator) -> Judged | None:
    """Return the first finding that fires and is confirmed by probes made anew."""
    for finding in findings:
        if finding.state is Alarm.FIRES and watching.confirm(_Simulated(_World(day, now, rng)), finding)[0]:
            return Judged(finding.kind, now, float(finding.evidence.get("seconds", np.nan)))
    return None
