"""What a watch amounts to: whether an alarm is on, whether it flaps, and the verdict at its end."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from tasks.domain.outcome import Outcome
from tasks.domain.statistics import rate_at_most
from tasks.domain.triggers import Alarm, Finding, Probe

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
class WatchVerdict:
    """The verdict on a watch, the reasons for it, and its figures for JSON."""

    ended: Ended
    seen: str
    evidence: Mapping[str, Any] = field(default_factory=dict)


def watch_verdict(
    probes: Sequence[Probe],
    started: datetime,
    ended: datetime,
    interval: float,
    *,
    findings: Sequence[Finding] = (),
    critical: Sequence[Outcome] = (),
    least: float = COVERAGE,
) -> WatchVerdict:
    """Return whether what was seen between two moments shows a stable release.

    ``interval`` is in seconds between two probes. ``findings`` are the last of each trigger and any that fired;
    ``critical`` the last outcomes of the checks that decide. What is unknown among them leaves the verdict open, as
    does a share of the expected probes below ``least``.
    """
    made = [p for p in probes if started <= p.at <= ended and p.counted is not Outcome.UNKNOWN]
    expected = max(1, round((ended - started).total_seconds() / interval))
    # Ticks are counted, not probes: a burst must not make up for an hour in which nobody looked.
    ticks = len({int((p.at - started).total_seconds() / interval) for p in made})
    coverage = min(1.0, ticks / expected)
    failures = sum(p.outcome is Outcome.FAILED for p in made)
    rate = failures / len(made) if made else None
    reasons = _objections(coverage, least, rate, findings, critical)
    figures = f"{failures} of {len(made)} probes failed, {coverage:.0%} of the expected probes made"
    evidence = {
        "expected": expected,
        "made": len(made),
        "coverage": coverage,
        "failed": failures,
        "error_rate": rate,
        "error_rate_at_most": rate_at_most(failures, len(made)),
        "triggers": {finding.kind: finding.state.value for finding in findings},
        "reasons": reasons,
    }
    if reasons:
        return WatchVerdict(Ended.INCONCLUSIVE, f"{'; '.join(reasons)} ({figures})", evidence)
    return WatchVerdict(Ended.STABLE, figures, evidence)


def _objections(
    coverage: float, least: float, rate: float | None, findings: Sequence[Finding], critical: Sequence[Outcome]
) -> list[str]:
    reasons = []
    if rate is None:
        reasons.append("no probe came to a result")
    elif coverage < least:
        reasons.append(f"coverage {coverage:.0%} < {least:.0%}")
    if rate is not None and rate >= ERROR_RATE:
        reasons.append(f"error rate {rate:.2%} ≥ {ERROR_RATE:.0%}")
    reasons += [f"{f.kind} {f.state.value}: {f.seen}" for f in findings if f.state in {Alarm.FIRES, Alarm.UNKNOWN}]
    for outcome in (Outcome.FAILED, Outcome.UNKNOWN):
        count = sum(seen is outcome for seen in critical)
        if count:
            reasons.append(f"{count} of {len(critical)} critical checks {outcome.value}")
    return reasons
