"""What a watch amounts to: whether an alarm is on, whether it flaps, and the verdict at its end."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from tasks.domain.outcome import Outcome
from tasks.domain.statistics import percentile, rate_at_most, summarise
from tasks.domain.traffic import NONE, Traffic
from tasks.domain.triggers import ENOUGH_BASELINE, ENOUGH_BURST, ENOUGH_REQUESTS, Alarm, Finding, Probe
from tasks.domain.units import show_seconds

COVERAGE = 0.80
"""The share of the expected probes without which nothing can be concluded."""
ERROR_RATE = 0.01
"""The share of failed probes from which a watch no longer counts as stable."""


@dataclass(frozen=True)
class Signal:
    """What a row of looks amounts to: an alarm raised (``failed``), resolved (``passed``) or neither yet.

    ``changes`` counts how often the outcome changed in the last 20 looks; many changes are flapping.
    """

    outcome: Outcome
    changes: int
    flapping: bool


def signal(
    outcomes: Iterable[Outcome], *, fire_after: int = 3, resolve_after: int = 2, flap_at: int = 4, flap_in: int = 20
) -> Signal:
    """Return the alarm after these looks, the oldest first: failures in a row raise it, successes in a row resolve it.

    Looks that came out unknown neither raise nor resolve nor interrupt a row.
    """
    decided = [outcome for outcome in outcomes if outcome is not Outcome.UNKNOWN]
    state = Outcome.UNKNOWN
    for outcome, row in itertools.groupby(decided):
        if len(list(row)) >= (fire_after if outcome is Outcome.FAILED else resolve_after):
            state = outcome
    changes = sum(a is not b for a, b in itertools.pairwise(decided[-flap_in:]))
    return Signal(state, changes, changes >= flap_at)


class Ended(StrEnum):
    """How a watch ended; what is not shown to be stable is for a person to decide."""

    STABLE = "stable"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True)
class Criteria:
    """What must hold for a stable verdict; ``slower`` is a share of the baseline's median, ``floor`` is in seconds."""

    coverage: float = COVERAGE
    errors: float = ERROR_RATE
    slower: float | None = None
    floor: float = 0.0


@dataclass(frozen=True)
class WatchVerdict:
    """The verdict on a watch, the reasons for it, and its figures for JSON.

    ``may_mend`` tells that nothing has failed and only too little is known, which more time may mend.
    """

    ended: Ended
    seen: str
    evidence: Mapping[str, Any] = field(default_factory=dict)
    may_mend: bool = False


@dataclass(frozen=True)
class _Objection:
    """Why a watch is not stable; ``failed`` if that has been seen, instead of not known."""

    text: str
    failed: bool


def watch_verdict(
    probes: Sequence[Probe],
    started: datetime,
    ended: datetime,
    interval: float,
    *,
    findings: Sequence[Finding] = (),
    critical: Sequence[Outcome] = (),
    criteria: Criteria = Criteria(),
    baseline: Sequence[float] = (),
) -> WatchVerdict:
    """Return whether what was seen between two moments shows a stable release.

    ``interval`` is in seconds between two probes. ``findings`` are the last of each trigger and any that fired;
    ``critical`` the last outcomes of the checks that decide; ``baseline`` the seconds that answers took before. What is
    unknown among them leaves the verdict open, as does too small a share of the expected probes.
    """
    made = [p for p in probes if started <= p.at <= ended and p.counted is not Outcome.UNKNOWN]
    expected = max(1, round((ended - started).total_seconds() / interval))
    coverage = min(1.0, _ticks([(p.at - started).total_seconds() / interval for p in made]) / expected)
    failures = sum(p.outcome is Outcome.FAILED for p in made)
    rate = failures / len(made) if made else None
    took = [p.elapsed for p in made if p.outcome is Outcome.PASSED and p.elapsed is not None]
    clients = sum((p.clients.traffic for p in probes if p.clients and started <= p.clients.at <= ended), NONE)
    objections = [
        *_about_probes(coverage, rate, criteria),
        *_about_clients(clients, criteria),
        *_about_latency(took, baseline, criteria),
        *_about_findings(findings, critical),
    ]
    reasons = [one.text for one in objections]
    figures = f"{failures} of {len(made)} probes failed, {coverage:.0%} of the expected probes made"
    evidence: dict[str, Any] = {
        "expected": expected,
        "made": len(made),
        "coverage": coverage,
        "failed": failures,
        "error_rate": rate,
        "error_rate_at_most": rate_at_most(failures, len(made)),
        "latency": summarise(took).as_json(),
        "baseline": summarise(baseline).as_json(),
        "triggers": {finding.kind: finding.state.value for finding in findings},
        "reasons": reasons,
    }
    if clients.asked:
        figures = f"{figures}, {clients.failed} of {clients.asked} requests of clients failed"
        evidence |= {"clients": {"asked": clients.asked, "failed": clients.failed}}
    if reasons:
        may_mend = not any(one.failed for one in objections)
        return WatchVerdict(Ended.INCONCLUSIVE, f"{'; '.join(reasons)} ({figures})", evidence, may_mend)
    return WatchVerdict(Ended.STABLE, figures, evidence)


def _ticks(intervals: Sequence[float]) -> int:
    """Return in how many intervals something was looked at; ``intervals`` is how many had passed at each look.

    Not looks are counted: a burst must not make up for an hour in which nobody looked. Ticks that lie close to where
    one interval ends and the next begins would by a little lateness leave one empty and come to two in another, so the
    borders are taken where they lie apart from the ticks.
    """
    return max(len({math.floor(at + shift) for at in intervals}) for shift in (0.0, 0.5))


def _about_probes(coverage: float, rate: float | None, criteria: Criteria) -> Iterator[_Objection]:
    if rate is None:
        yield _Objection("no probe came to a result", failed=False)
    elif coverage < criteria.coverage:
        yield _Objection(f"coverage {coverage:.0%} < {criteria.coverage:.0%}", failed=False)
    if rate is not None and rate >= criteria.errors:
        yield _Objection(f"error rate {rate:.2%} ≥ {criteria.errors * 100:g}%", failed=True)


def _about_clients(clients: Traffic, criteria: Criteria) -> Iterator[_Objection]:
    if clients.asked >= ENOUGH_REQUESTS and clients.errors >= criteria.errors:
        told = f"{clients.failed} of {clients.asked} requests of clients failed"
        yield _Objection(f"{told}: {clients.errors:.2%} ≥ {criteria.errors * 100:g}%", failed=True)


def _about_latency(took: Sequence[float], baseline: Sequence[float], criteria: Criteria) -> Iterator[_Objection]:
    if criteria.slower is None:
        return
    if len(took) < ENOUGH_BURST or len(baseline) < ENOUGH_BASELINE:
        yield _Objection(
            f"{len(took)} answers (at least {ENOUGH_BURST} needed) against a baseline of {len(baseline)} "
            f"(at least {ENOUGH_BASELINE})",
            failed=False,
        )
        return
    now, before = percentile(took, 0.5), percentile(baseline, 0.5)
    if now - before > max(criteria.floor, criteria.slower * before):
        seen = f"median {show_seconds(now)} > {1 + criteria.slower:g} × {show_seconds(before)} before"
        yield _Objection(seen, failed=True)


def _about_findings(findings: Sequence[Finding], critical: Sequence[Outcome]) -> Iterator[_Objection]:
    for one in findings:
        if one.state in {Alarm.FIRES, Alarm.UNKNOWN}:
            yield _Objection(f"{one.kind} {one.state.value}: {one.seen}", failed=one.state is Alarm.FIRES)
    for outcome in (Outcome.FAILED, Outcome.UNKNOWN):
        if count := sum(seen is outcome for seen in critical):
            said = f"{count} of {len(critical)} critical checks {outcome.value}"
            yield _Objection(said, failed=outcome is Outcome.FAILED)
