"""Counting the clients' own requests of a release under watch, where its release file says by whom that is done."""

from __future__ import annotations

from datetime import datetime
from functools import cached_property
from threading import Lock

from tasks.context import Context, world
from tasks.domain.errors import OutsideError
from tasks.domain.judging import ERROR_CONFIRMATIONS
from tasks.domain.target import Target
from tasks.domain.traffic import NONE, Counted
from tasks.traffic import Reading, TrafficSource

_EARLY = 0.1
"""The part of its period that a reading may come early, because it goes along with a tick."""
_LOOKS = 10
"""How often within its period it is looked whether there are enough requests to confirm errors."""


class Clients:
    """Reads now and then what the requests came to since the last reading; for one release, by several threads."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self._source: TrafficSource | None = ctx.file.watch.traffic
        self._last: tuple[datetime, Reading | None] | None = None
        self._reading = Lock()
        self._trouble = ""

    def count(self, at: datetime) -> Counted | None:
        """Return what the requests came to until now, if it is time and that can be told; the first call only begins.

        Raises nothing: what cannot be told is told where progress is followed, once, and by the next reading.
        """
        if self._source is None or not self._reading.acquire(blocking=False):
            return None
        try:
            return self._count(self._source, at)
        except Exception as error:  # noqa: BLE001 - whatever hinders it, the probe along with which it is made counts
            said = world().secrets.mask(f"{type(error).__name__}: {error}")
            if said != self._trouble:
                world().progress(f"{self._ctx.release.id}: the clients' requests cannot be counted: {said}")
            self._trouble = said
            return None
        finally:
            self._reading.release()

    def _count(self, source: TrafficSource, at: datetime) -> Counted | None:
        if self._last is None:
            self._last = at, self._begin(source)
            return None
        began, before = self._last
        seconds = (at - began).total_seconds()
        if seconds < source.every * (1 - _EARLY):
            return None
        now = self._read(source, before, seconds)
        self._last, self._trouble = (at, now), ""
        return Counted(at, seconds, now.traffic) if now.traffic is not None else None

    def count_anew(self) -> Counted | None:
        """Return what requests come to from now on, as soon as there are enough of them to confirm that some fail.

        That takes up to two periods of reading, and comes to None where nothing can be told.
        """
        source, clock = self._source, world().clock
        if source is None:
            return None
        began, found = clock.monotonic(), None
        try:
            before = self._begin(source)
            while found is None or (found.traffic.asked < ERROR_CONFIRMATIONS and not found.traffic.failed):
                if clock.monotonic() - began > 2 * source.every:
                    break
                clock.sleep(max(source.shortest, source.every / _LOOKS))
                seconds = clock.monotonic() - began
                traffic = self._read(source, before, seconds).traffic
                found = Counted(clock.now(), seconds, traffic if traffic is not None else NONE)
        except OutsideError as error:
            world().progress(f"{self._ctx.release.id}: {world().secrets.mask(str(error))}")
        return found

    def _begin(self, source: TrafficSource) -> Reading | None:
        """Return where counters stand; a source that tells of a past time by itself has none."""
        return self._read(source, None, 0.0) if source.shortest == 0 else None

    def _read(self, source: TrafficSource, before: Reading | None, seconds: float) -> Reading:
        return source.read(self._target, self._ctx.file.router, before, seconds)

    @cached_property
    def _target(self) -> Target:
        version = self._ctx.release.version
        is_routers = self._source is not None and self._source.of_router
        return self._ctx.site(version).at_router if is_routers else self._ctx.target()
