"""When a system is asked least: what is known of each hour, and the quietest in which a release could begin."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta, tzinfo
from statistics import median
from typing import Any

ENOUGH_DAYS = 3
"""On so many days an hour must have been counted to be known."""
COVERED = 0.8
"""The share of the hours in which a release could begin that must be known."""
BUSY, WORTH = 1.5, 100
"""An hour is busy that has at least so many times as much as the quietest, and so many more; else waiting gains little.
"""
_PART = timedelta(minutes=30)
"""How much of an hour must have been counted to tell what comes in it."""


@dataclass(frozen=True)
class Counted:
    """So many requests, or whatever tells of the traffic, came between two moments not far apart."""

    since: datetime
    until: datetime
    count: float


@dataclass(frozen=True)
class Usual:
    """What usually comes in an hour: the median of so many days."""

    rate: float
    days: int


@dataclass(frozen=True)
class OffPeak:
    """The quietest hour in which a release could begin, and the one that is asked about.

    ``begins`` is its next beginning, ``weekly`` says whether each hour of the week was told apart, or only of the day.
    """

    at: datetime
    then: Usual
    begins: datetime
    usual: Usual
    of: str
    weekly: bool

    @property
    def is_busy(self) -> bool:
        """Whether the hour that is asked about has so much more that the quietest is to be preferred."""
        more = self.then.rate - self.usual.rate
        return self.then.rate >= BUSY * self.usual.rate and more >= WORTH

    def __str__(self) -> str:
        """Return both hours with the figures that they rest on."""
        days = f"medians of {min(self.then.days, self.usual.days)} "
        days += "weeks or more" if self.weekly else "days or more, whatever day of the week"
        seen = f"about {self.then.rate:,.0f} {self.of} an hour come at {_told(self.at)}"
        if not self.is_busy:
            return f"{seen}, no busy hour ({days})"
        quietest = f"the quietest hour in the change window is from {_told(self.begins)}"
        return f"{seen}; {quietest}, with about {self.usual.rate:,.0f} ({days})"

    def as_json(self) -> dict[str, Any]:
        """Return the figures for JSON."""
        return {
            "of": self.of,
            "weekly": self.weekly,
            "at": {"begins": self.at.isoformat(), "an_hour": round(self.then.rate), "days": self.then.days},
            "quietest": {"begins": self.begins.isoformat(), "an_hour": round(self.usual.rate), "days": self.usual.days},
            "busy": self.is_busy,
            "said": str(self),
        }


def _told(at: datetime) -> str:
    return f"{at:%a %Y-%m-%d %H:%M} UTC"


def off_peak(
    counted: Iterable[Counted], zone: tzinfo, *, of: str, at: datetime, openings: Sequence[datetime]
) -> OffPeak | str:
    """Return the quietest of the hours in which a release could begin, beside that ``at`` which it would; or why not.

    ``openings`` are the moments, one for each hour of a week at most, ``of`` says what was counted. Each hour of the
    week counts for itself where enough is known of it, else each hour of the day.
    """
    if not openings:
        return "the change window does not open within a week"
    rates = _rates(counted, zone)
    why = "nothing was counted"
    for key, weekly in ((_of_week, True), (_of_day, False)):
        known = _known(rates, key)
        usual = {one: known[hour] for one in openings if (hour := key(one.astimezone(zone))) in known}
        hours = {key(one.astimezone(zone)) for one in openings}
        seen = {key(one.astimezone(zone)) for one in usual}
        then = known.get(key(at.astimezone(zone)))
        if then is not None and len(seen) >= COVERED * len(hours):
            begins = min(usual, key=lambda one: (usual[one].rate, one))
            return OffPeak(at, then, begins, usual[begins], of, weekly)
        if rates:
            why = (
                f"of the {len(hours)} hours of the day in which it could begin {len(seen)} were counted on "
                f"{ENOUGH_DAYS} days" + (", and not the one in which it would" if then is None else "")
            )
    return why


def _of_week(local: datetime) -> Hashable:
    return local.weekday(), local.hour


def _of_day(local: datetime) -> Hashable:
    return local.hour


def _known(rates: Mapping[datetime, float], key: Any) -> dict[Hashable, Usual]:
    """Return what usually comes in each hour that was counted on enough days."""
    of: dict[Hashable, list[float]] = defaultdict(list)
    for hour, rate in rates.items():
        of[key(hour)].append(rate)
    return {name: Usual(median(found), len(found)) for name, found in of.items() if len(found) >= ENOUGH_DAYS}


def _rates(counted: Iterable[Counted], zone: tzinfo) -> dict[datetime, float]:
    """Return how many came an hour in each hour of the clock of which enough was counted."""
    seconds: dict[tuple[date, int], float] = defaultdict(float)
    counts: dict[tuple[date, int], float] = defaultdict(float)
    for one in counted:
        whole = (one.until - one.since).total_seconds()
        if whole <= 0 or one.count < 0 or not math.isfinite(one.count):
            continue
        for local, part in _hours(one, zone):
            seconds[local.date(), local.hour] += part
            counts[local.date(), local.hour] += one.count * part / whole
    enough = (hour for hour, part in seconds.items() if part >= _PART.total_seconds())
    return {
        datetime(day.year, day.month, day.day, hour, tzinfo=zone): 3600 * counts[day, hour] / seconds[day, hour]
        for day, hour in enough
    }


def _hours(one: Counted, zone: tzinfo) -> Iterator[tuple[datetime, float]]:
    """Yield each hour of the clock that lies between the moments, with the seconds of it that do."""
    begin = one.since
    while begin < one.until:
        local = begin.astimezone(zone)
        left = timedelta(hours=1) - timedelta(
            minutes=local.minute, seconds=local.second, microseconds=local.microsecond
        )
        end = min(begin + left, one.until)
        yield local, (end - begin).total_seconds()
        begin = end
