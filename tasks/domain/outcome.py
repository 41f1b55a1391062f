"""What a check saw, and how several of them add up."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any


class Outcome(StrEnum):
    """How a condition came out; ``unknown`` means that nothing could be learnt, which is never a success."""

    PASSED = "passed"
    FAILED = "failed"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Reading:
    """What one look found: the outcome, and a sentence that echoes the value against its limit.

    ``value`` and ``limit`` are in ``unit``; ``detail`` is JSON-serialisable evidence.
    """

    outcome: Outcome
    seen: str
    value: float | None = None
    unit: str = ""
    limit: float | None = None
    detail: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.value is not None and not math.isfinite(self.value):
            object.__setattr__(self, "value", None)
            object.__setattr__(self, "outcome", Outcome.UNKNOWN)


def passed(seen: str, **more: Any) -> Reading:
    """Return a reading whose condition holds."""
    return Reading(Outcome.PASSED, seen, **more)


def failed(seen: str, **more: Any) -> Reading:
    """Return a reading whose condition does not hold."""
    return Reading(Outcome.FAILED, seen, **more)


def unknown(seen: str, **more: Any) -> Reading:
    """Return a reading from which nothing can be concluded."""
    return Reading(Outcome.UNKNOWN, seen, **more)


def judge_limit(value: float | None, limit: float, unit: str, what: str, *, at_least: bool = False) -> Reading:
    """Hold a value against a limit and echo both; no value, or one that is not finite, is ``unknown``."""
    sign = "≥" if at_least else "≤"
    if value is None or not math.isfinite(value):
        return unknown(f"{what}: no data (limit {sign} {limit:g} {unit})".rstrip(), unit=unit, limit=limit)
    holds = value >= limit if at_least else value <= limit
    text = f"{what} {value:g} {unit} {sign} {limit:g} {unit}".replace("  ", " ").rstrip()
    return Reading(Outcome.PASSED if holds else Outcome.FAILED, text, value=value, unit=unit, limit=limit)


@dataclass(frozen=True)
class Measurement:
    """A reading with its check, time and duration, as it goes into the ledger. ``took`` is in seconds."""

    check: str
    kind: str
    reading: Reading
    at: datetime
    took: float
    advisory: bool = False
    covers: tuple[str, ...] = ()
    help: str = ""

    @property
    def outcome(self) -> Outcome:
        """The reading's outcome."""
        return self.reading.outcome


def combine(outcomes: Iterable[Outcome]) -> Outcome:
    """Add outcomes up: one failure fails, one unknown or nothing at all leaves it unknown, else passed."""
    seen = set(outcomes)
    if Outcome.FAILED in seen:
        return Outcome.FAILED
    if Outcome.UNKNOWN in seen or not seen:
        return Outcome.UNKNOWN
    return Outcome.PASSED


def verdict(measurements: Iterable[Measurement]) -> Outcome:
    """Add up the measurements that may decide; advisory ones are reported and never decide."""
    return combine(m.outcome for m in measurements if not m.advisory)
