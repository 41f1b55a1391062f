"""Replay: what a watch decided, decided again from what is on record, and what other limits would have come to."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from tasks.domain.judging import CONFIRMATIONS, ERROR_CONFIRMATIONS, still_there
from tasks.domain.outcome import Outcome
from tasks.domain.triggers import Alarm, Finding, Probe


@dataclass(frozen=True)
class Decision:
    """One decision and what it comes to when it is made again; ``by`` is who made it.

    ``agrees`` is unknown where too little is on record to make it again, and ``why`` says what is missing or differs.
    """

    at: datetime
    by: str
    decided: str
    replayed: str
    agrees: Outcome
    why: str = ""


@dataclass(frozen=True)
class Firing:
    """A stretch of probes after each of which a trigger fires: the first finding, and when that was.

    ``holds`` is what the probes after it say to whether it was still there just before acting: unknown if they are
    too few.
    """

    finding: Finding
    at: datetime
    until: datetime
    holds: Outcome


Judge = Callable[[Sequence[Probe], datetime], Sequence[Finding]]
"""What says what the triggers find in a window of probes at a moment."""


def firings(ticks: Sequence[Probe], judge: Judge, span: float, since: datetime) -> list[Firing]:
    """Return when triggers fire, by judging anew after each tick as the guard does.

    ``ticks`` stand in the order in which they came in; ``span`` is how many seconds of them are judged at once. When
    exactly each was judged is not on record: that is taken to be as soon as it had its answer.
    """
    found: list[Firing] = []
    open_by_kind: dict[str, tuple[Finding, int]] = {}
    for number, (tick, window) in enumerate(_windows(ticks, span, since)):
        now = _came_in(tick)
        firing = {one.kind: one for one in judge(window, now) if one.state is Alarm.FIRES}
        over = open_by_kind.keys() - firing.keys()
        found += [_closed(ticks, *open_by_kind.pop(kind), number - 1) for kind in over]
        for kind, finding in firing.items():
            open_by_kind.setdefault(kind, (finding, number))
    found += [_closed(ticks, *one, len(ticks) - 1) for one in open_by_kind.values()]
    return sorted(found, key=lambda one: one.at)


def _windows(ticks: Sequence[Probe], span: float, since: datetime) -> Iterator[tuple[Probe, Sequence[Probe]]]:
    first = 0
    for number, tick in enumerate(ticks):
        start = max(since, _came_in(tick) - timedelta(seconds=span))
        while ticks[first].at < start and first < number:
            first += 1
        yield tick, [one for one in ticks[first : number + 1] if one.at >= start]


def _came_in(tick: Probe) -> datetime:
    return tick.at + timedelta(seconds=tick.elapsed or 0.0)


def _closed(ticks: Sequence[Probe], finding: Finding, first: int, last: int) -> Firing:
    holds = held_by(finding.kind, ticks[first + 1 :])
    return Firing(finding, _came_in(ticks[first]), _came_in(ticks[last]), holds)


def held_by(kind: str, after: Sequence[Probe]) -> Outcome:
    """Tell by the ticks after a finding whether probes just before acting would have confirmed it."""
    needed = {"down": CONFIRMATIONS, "errors": ERROR_CONFIRMATIONS}.get(kind, 0)
    taken = list(itertools.islice(after, needed))
    holds = still_there(kind, taken)
    # Of an outage one answer decides, of errors one failure; the other way all probes are needed.
    decided = len(taken) == needed or holds is (kind == "errors")
    if not decided:
        return Outcome.UNKNOWN
    return Outcome.PASSED if holds else Outcome.FAILED


def in_words(findings: Sequence[Finding]) -> str:
    """Return what findings say, those that fire first; those that are quiet in a word."""
    rank = (Alarm.FIRES, Alarm.UNKNOWN, Alarm.SUSPICIOUS)
    loud = sorted((one for one in findings if one.state in rank), key=lambda one: rank.index(one.state))
    return "; ".join(f"{one.kind} {one.state}: {one.seen}" for one in loud) or "nothing fires"
