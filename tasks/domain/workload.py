"""A load of SQL statements: how they are written, when each is due, and what their latencies come to."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from tasks.domain.outcome import Outcome, Reading, combine, judge_limit, unknown
from tasks.domain.statistics import summarise

ENOUGH = 100
"""Fewer statements than this say nothing of their 99th percentile."""
_RANGE = re.compile(r"\{(-?\d+)\.\.(-?\d+)\}")


@dataclass(frozen=True)
class Template:
    """A statement with ranges of whole numbers in it; ``parts`` are the texts around them."""

    parts: tuple[str, ...]
    ranges: tuple[tuple[int, int], ...]

    def fill(self, random: Random) -> str:
        """Return the statement with a number for each range."""
        numbers = [f"{random.randint(low, high)}" for low, high in self.ranges]
        return "".join(part + number for part, number in zip(self.parts, [*numbers, ""], strict=True))


def parse(text: str) -> Template:
    """Read a statement in which ``{1..500}`` may stand; raises `ValueError` for an empty one or a range backwards."""
    if not text.strip():
        raise ValueError("an empty statement; expected SQL")
    pieces = _RANGE.split(text)
    ranges = tuple((int(low), int(high)) for low, high in zip(pieces[1::3], pieces[2::3], strict=True))
    for low, high in ranges:
        if low > high:
            raise ValueError(f"{{{low}..{high}}} is empty; expected the smaller number first")
    return Template(tuple(pieces[::3]), ranges)


@dataclass(frozen=True)
class Sent:
    """One statement: when it was due, the seconds from then to its end, and what it failed with, if it did.

    ``slow`` tells that it was given up for its time, so that it took at least that long.
    """

    due: float
    took: float
    error: str = ""
    slow: bool = False


@dataclass(frozen=True)
class Phase:
    """What the statements of one stretch of time came to; latencies in seconds."""

    sent: int
    latencies: tuple[float, ...]
    errors: Mapping[str, int]

    @property
    def failed(self) -> int:
        """How many failed."""
        return sum(self.errors.values())

    def as_json(self) -> dict[str, Any]:
        """Return the figures for JSON."""
        found = summarise(self.latencies).as_json()
        return {
            "sent": self.sent,
            "p50": found["p50"],
            "p99": found["p99"],
            "longest": max(self.latencies, default=None),
            "errors": dict(self.errors),
        }


def phase(sent: Sequence[Sent], begin: float, end: float) -> Phase:
    """Return what came of the statements that were due from ``begin`` until before ``end``.

    One that failed at once says nothing of latency; one that was given up for its time counts with that time.
    """
    those = [one for one in sent if begin <= one.due < end]
    latencies = tuple(one.took for one in those if not one.error or one.slow)
    return Phase(len(those), latencies, Counter(one.error for one in those if one.error))


def judge(during: Phase, *, p99: float | None, errors: float | None) -> Reading:
    """Hold what a load saw during a migration against its limits; too few statements are ``unknown``."""
    readings: list[Reading] = []
    summary = summarise(during.latencies)
    if p99 is not None:
        enough = summary.count >= ENOUGH
        value = round(summary.p99 * 1000, 1) if enough else math.nan
        what = "p99" if enough else f"p99 of {summary.count} statements, of at least {ENOUGH}"
        readings.append(judge_limit(value, p99 * 1000, "ms", what))
    if errors is not None:
        share = during.failed / during.sent * 100 if during.sent else math.nan
        readings.append(judge_limit(round(share, 2) if during.sent else math.nan, errors * 100, "%", "errors"))
    if not readings:
        if not during.sent:
            return unknown("no statement was sent")
        told = f"p99 {summary.p99 * 1000:.0f} ms" if summary.count else "no latency"
        return Reading(Outcome.PASSED, f"{told}, {during.failed} of {during.sent} failed; no limit is given")
    return Reading(combine(one.outcome for one in readings), "; ".join(one.seen for one in readings))
