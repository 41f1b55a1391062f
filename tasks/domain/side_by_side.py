"""Judges a new version against the old one by probes of both, made side by side."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tasks.domain.outcome import Outcome
from tasks.domain.statistics import percentile, slower_p, wilson_lower
from tasks.domain.traffic import Traffic

_SURE = 0.02
"""The p-value below which one version is taken for slower: at a confidence of 98 %."""
_FEWEST = 10
"""The least latencies of each version for which the test's normal approximation holds."""


@dataclass(frozen=True)
class Probes:
    """What the probes of one version saw: how many failed, and how long each of the others took, in seconds."""

    failed: int
    latencies: Sequence[float]

    @property
    def asked(self) -> int:
        """How many probes were made."""
        return self.failed + len(self.latencies)

    @property
    def errors(self) -> float:
        """The share of probes that failed; NaN if there were none."""
        return self.failed / self.asked if self.asked else math.nan


@dataclass(frozen=True)
class Limits:
    """How much worse than the old version a new one may be.

    ``errors`` is added to the old one's share of failed probes; ``slower`` is a share of its latency, and ``floor`` the
    seconds below which no difference counts. With fewer than ``least`` probes of each nothing is judged.
    """

    errors: float
    slower: float
    floor: float
    least: int


@dataclass(frozen=True)
class Judgement:
    """What came out, why, and the figures behind it."""

    outcome: Outcome
    why: str
    figures: dict[str, Any]


def judge(old: Probes, new: Probes, limits: Limits) -> Judgement:
    """Return whether the new version does as well as the old; too little data, or an old one that is down, is unknown.

    It fails if its error rate is above the old one's by more than is allowed even at the lower bound of what was seen
    (Wilson, 95 %), or if it is slower by more than is allowed (one-sided Mann-Whitney, 98 %).
    """
    figures: dict[str, Any] = {"old": _figures(old), "new": _figures(new)}
    if min(old.asked, new.asked) < limits.least:
        why = f"{new.asked} probes of the new and {old.asked} of the old version, fewer than {limits.least}"
        return Judgement(Outcome.UNKNOWN, why, figures)
    figures["errors_at_least"] = round(wilson_lower(new.failed, new.asked), 4)
    if fails_more(old, new, limits):
        why = f"{new.failed} of {new.asked} probes failed, against {old.failed} of {old.asked} of the old version"
        return Judgement(Outcome.FAILED, why, figures)
    if min(len(old.latencies), len(new.latencies)) < _FEWEST:
        return Judgement(Outcome.UNKNOWN, f"fewer than {_FEWEST} probes of each version succeeded", figures)
    p = slower_p(new.latencies, old.latencies, 1 + limits.slower)
    before, after = percentile(old.latencies, 0.5), percentile(new.latencies, 0.5)
    figures["p"] = round(p, 5)
    if p < _SURE and after - before >= limits.floor:
        why = f"{after * 1000:.1f} ms in the median, against {before * 1000:.1f} ms of the old version"
        return Judgement(Outcome.FAILED, why, figures)
    return Judgement(Outcome.PASSED, f"{new.failed} of {new.asked} probes failed, and it is not slower", figures)


def judge_traffic(old: Traffic, new: Traffic, limits: Limits, needed: int) -> tuple[Outcome, str]:
    """Return whether the clients' requests fail no more at the new version than is allowed, and why.

    With fewer than ``needed`` of them at the new version that is unknown. Otherwise too few to judge by leave it to the
    probes.
    """
    if new.asked < needed:
        return Outcome.UNKNOWN, f"{new.asked} requests of clients at the new version, fewer than {needed}"
    if fails_more(old, new, limits):
        against = f"against {old.failed} of {old.asked} at the old version"
        return Outcome.FAILED, f"{new.failed} of {new.asked} requests of clients failed, {against}"
    return Outcome.PASSED, f"{new.failed} of {new.asked} requests of clients failed"


def fails_more(old: Probes | Traffic, new: Probes | Traffic, limits: Limits) -> bool:
    """Tell whether the new version surely fails more often than is allowed; this may be asked after each probe."""
    enough = min(old.asked, new.asked) >= limits.least
    return enough and wilson_lower(new.failed, new.asked) > old.errors + limits.errors


def _figures(probes: Probes) -> dict[str, Any]:
    shares = {"p50": 0.5, "p95": 0.95} if probes.latencies else {}
    return {
        "asked": probes.asked,
        "failed": probes.failed,
        **{name: round(percentile(probes.latencies, share), 5) for name, share in shares.items()},
    }
