"""The clients' own requests, as whoever takes them counts them: how many there were, and how many failed."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from tasks.domain.statistics import wilson_lower

COVERED = 0.8
"""The share of a time that counts must cover, for its requests to be told."""


@dataclass(frozen=True)
class Traffic:
    """What the clients' requests came to: how many there were, and how many of them failed."""

    asked: int
    failed: int

    @property
    def errors(self) -> float:
        """The share of requests that failed; NaN if there were none."""
        return self.failed / self.asked if self.asked else math.nan

    def __add__(self, other: Traffic) -> Traffic:
        """Return both together."""
        return Traffic(self.asked + other.asked, self.failed + other.failed)


NONE = Traffic(0, 0)
_LONGEST = 1.5


@dataclass(frozen=True)
class Counted:
    """What the clients' requests came to in the ``seconds`` up to a moment."""

    at: datetime
    seconds: float
    traffic: Traffic


def grown(before: Mapping[str, Traffic], now: Mapping[str, Traffic]) -> Traffic:
    """Return what has been counted between two readings of counters that only ever grow.

    One that stands lower, or was not there, has begun anew at zero, as it does where a process is started again.
    """
    return sum((_grown(before.get(name, NONE), one) for name, one in now.items()), NONE)


def _grown(before: Traffic, now: Traffic) -> Traffic:
    more = Traffic(now.asked - before.asked, now.failed - before.failed)
    return more if 0 <= more.failed <= more.asked else now


def parts(counts: Sequence[Counted], until: datetime, seconds: float, number: int) -> list[Traffic]:
    """Return what the requests came to in so many equal parts of the time up to a moment, in order.

    A count belongs to the part in which its middle lies; one over a time longer than half of the next part as well
    belongs nowhere. Where counts cover too little of the time, there are none.
    """
    each, found = seconds / number, [NONE] * number
    begins, covered = until - timedelta(seconds=seconds), 0.0
    for one in counts:
        middle = (one.at - begins).total_seconds() - one.seconds / 2
        if 0 <= middle < seconds and one.seconds <= _LONGEST * each:
            part = min(number - 1, int(middle / each))
            found[part] += one.traffic
            covered += one.seconds
    return found if covered >= COVERED * seconds else []


def since_calm(successive: Sequence[Traffic], limit: float) -> Traffic:
    """Return what the requests came to since the last part in which their errors were surely within a limit."""
    return sum(itertools.takewhile(lambda part: not is_calm(part, limit), reversed(successive)), NONE)


def is_calm(part: Traffic, limit: float) -> bool:
    """Tell whether the share of errors is surely within a limit (Wilson, 95 %); without requests nothing is."""
    return part.asked > 0 and 1 - wilson_lower(part.asked - part.failed, part.asked) <= limit
