"""When each release is probed: at ticks that stay where they are, and between two while one is not answered."""

from __future__ import annotations

import heapq
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

AGAIN_TIMES = 3
"""Into so many parts the time between two ticks is split by second looks."""


@dataclass(frozen=True, order=True)
class Due:
    """One probe and when it is to be made, by a monotonic clock; ``again`` is a second look after a tick."""

    at: float
    name: str
    again: bool = False


class Timetable:
    """Keeps what is due next of each release.

    A tick that has not passed is looked at again a third of an interval later, and once more after two thirds if that
    has not passed either. It tells a request that failed by chance from the beginning of an outage, and when one ended.
    """

    def __init__(self) -> None:
        self._dues: list[Due] = []
        self._ticking: set[str] = set()
        self._unanswered: set[str] = set()

    def begin(self, name: str, now: float) -> None:
        """Let a release be probed from now on, if it is not already."""
        if name not in self._ticking:
            self._ticking.add(name)
            heapq.heappush(self._dues, Due(now, name))

    def take(self, now: float, interval_of: Callable[[str], float | None]) -> Iterator[Due]:
        """Yield what is due by ``now``, and put down what follows it; what has no interval any more is left out."""
        while self._dues and self._dues[0].at <= now:
            due = heapq.heappop(self._dues)
            interval = interval_of(due.name)
            if interval is None:
                self._unanswered.discard(due.name)
                if not due.again:
                    self._ticking.discard(due.name)
                continue
            tick = next_tick(due.name, interval, now)
            if not due.again:
                self._unanswered.add(due.name)
                heapq.heappush(self._dues, Due(tick, due.name))
            if due.name in self._unanswered:
                yield due
                again = now + interval / AGAIN_TIMES
                if again < tick - interval / AGAIN_TIMES / 2:
                    heapq.heappush(self._dues, Due(again, due.name, again=True))

    def answered(self, name: str) -> None:
        """Take note that a probe has passed, so that there is no second look until a tick is not answered again."""
        self._unanswered.discard(name)

    def next_at(self) -> float | None:
        """Return when something is due next, or None if nothing is."""
        while self._dues and self._dues[0].again and self._dues[0].name not in self._unanswered:
            heapq.heappop(self._dues)
        return self._dues[0].at if self._dues else None


def next_tick(name: str, interval: float, now: float) -> float:
    """Return when a release is probed next after ``now``.

    Ticks stay where they are, so that a probe that is late is one fewer and never a burst afterwards; and they lie
    apart, so that many releases are never probed all at once.
    """
    offset = share(name) * interval
    return offset + ((now - offset) // interval + 1) * interval


def share(name: str) -> float:
    """Return a number from 0 to 1 that is always the same for a name, and another one for nearly every other."""
    return zlib.crc32(name.encode()) / 2**32
