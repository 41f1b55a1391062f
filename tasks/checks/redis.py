"""A Redis that answers, and how it fares."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from tasks.checks import Check
from tasks.domain.asking import SILENCE, blame
from tasks.domain.condition import MISSING, Expected, all_of, held
from tasks.domain.kind import Duration, Share
from tasks.domain.outcome import Reading, failed, judge_limit, passed, unknown
from tasks.domain.services import RedisSession
from tasks.domain.target import Target
from tasks.domain.units import show_bytes

_EXPIRES = 60


class Redis(Check):
    """Looks whether Redis answers, holds what INFO tells against limits, and writes, reads and removes a key."""

    advice: ClassVar[str] = "ask it by hand: redis-cli INFO memory, redis-cli SLOWLOG GET 10"

    kind: Literal["redis"] = "redis"
    """Which kind of check this is."""
    url: Annotated[
        str, Field(pattern=r"^(rediss?|unix)://|^\$\{", examples=["redis://:${env:REDIS_PASSWORD}@host:6379/0"])
    ]
    """Its address; ``rediss://`` is with TLS. The password is named by a reference."""
    info: dict[str, Expected | int | float | str] = Field(
        default_factory=dict, examples=[{"role": "master", "evicted_keys": 0, "connected_clients": {"max": 500}}]
    )
    """What INFO must tell under each name: a value, or a condition (``min``, ``max``, ``pattern``, …)."""
    memory: Annotated[Share | None, Field(gt=0, le=1)] = None
    """The most of ``maxmemory`` that may be used."""
    round_trip: bool = False
    """Whether to write a key of golive's own (``golive:…``), read it and remove it."""
    within: Annotated[Duration | None, Field(gt=0)] = None
    """The longest that an answer to PING may take."""
    control: str | None = None
    """A URL elsewhere; if it answers while Redis does not, that is to blame. Needless on one machine."""

    def acts(self, phase: str) -> str:  # noqa: ARG002 - the same in every phase
        """Return whether it writes a key of golive's own."""
        return "writes a key of golive's own and removes it" if self.round_trip else ""

    def look(self, target: Target) -> Reading:
        """Return whether it answers and fares as it must; what INFO does not tell is unknown."""
        url, clock = target.fill(self.url), target.world.clock
        try:
            with target.world.redis.session(url, timeout=self.timeout) as session:
                session.ping()
                start = clock.monotonic()
                session.ping()
                took = clock.monotonic() - start
                readings = [passed("answers")]
                if self.within is not None:
                    readings.append(judge_limit(round(took * 1000, 2), self.within * 1000, "ms", "answers in"))
                told = session.info()
                readings += self._judged(told)
                if self.round_trip:
                    readings.append(_written(session))
        except SILENCE as silence:
            return blame(target, url, silence, self.control)
        names = ("redis_version", "role", "uptime_in_seconds", *self.info)
        return all_of(readings, detail={name: told[name] for name in names if name in told})

    def _judged(self, told: Mapping[str, Any]) -> list[Reading]:
        readings = []
        for name, expected in self.info.items():
            value = told.get(name, MISSING)
            condition = expected if isinstance(expected, Expected) else Expected(equals=expected)
            lacks = value is MISSING and condition.exists is None
            readings.append(unknown(f"INFO does not tell {name}") if lacks else condition.judge(name, value))
        if self.memory is not None:
            readings.append(_filled(told, self.memory))
        return readings


def _filled(told: Mapping[str, Any], most: float) -> Reading:
    used, limit = told.get("used_memory"), told.get("maxmemory")
    if used is None or not limit:
        return unknown("maxmemory is not set, so that no share of it can be told")
    what = f"{show_bytes(used)} of {show_bytes(limit)}:"
    return judge_limit(round(100 * used / limit, 1), round(100 * most, 1), "%", what)


def _written(session: RedisSession) -> Reading:
    key, value = f"golive:{secrets.token_hex(8)}", secrets.token_hex(8)
    session.put(key, value, expires=_EXPIRES)
    seen, removed = session.get(key), session.delete(key)
    if seen != value:
        return failed(f"a key that was written came back as {'nothing' if seen is None else 'another value'}")
    return held("a key was written, read and removed", removed == 1 and session.get(key) is None)
