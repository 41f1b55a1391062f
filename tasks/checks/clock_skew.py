"""Clocks that must agree."""

from __future__ import annotations

from collections.abc import Callable
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from tasks.checks import Check
from tasks.domain.condition import all_of
from tasks.domain.kind import Duration
from tasks.domain.outcome import Outcome, Reading, unknown
from tasks.domain.ports import Command
from tasks.domain.target import Target
from tasks.domain.units import show_seconds

_ASKED = 3  # times; the quickest answer tells most


class ClockSkew(Check):
    """Compares the clocks of the machine, its database and an HTTP server with golive's own."""

    kind: Literal["clock_skew"] = "clock_skew"
    """Which kind of check this is."""
    limit: Annotated[Duration, Field(gt=0)] = 2.0
    """By how much a clock may be ahead or behind."""
    host: bool = True
    """Whether the clock of the machine is compared that the system runs on."""
    dsn: str | None = Field(default="{dsn}")
    """The database whose server's clock is compared; ``null`` for none."""
    url: str | None = Field(default=None, examples=["{base_url}/health"])
    """The server whose clock is compared, by the header ``Date``, which tells whole seconds."""

    @property
    def on_hosts(self) -> bool:
        """Whether the clock of each host is compared."""
        return self.on == "hosts" or (self.on is None and self.host)

    @model_validator(mode="after")
    def _asks_something(self) -> Self:
        if not self.host and self.dsn is None and self.url is None:
            raise ValueError("one of host, dsn, url is needed")
        return self

    def look(self, target: Target) -> Reading:
        """Return how far the clocks are apart; where the way of the answer takes longer than that, it is unknown."""
        readings = []
        if self.host:
            readings.append(self._judge("the machine", *_nearest(target, partial(_of_host, target))))
        if self.dsn is not None:
            dsn = target.fill(self.dsn)
            with target.world.databases.session(dsn, read_only=True, statement_timeout=self.timeout) as session:
                ask = partial(session.value, "SELECT extract(epoch FROM clock_timestamp())")
                readings.append(self._judge("the database", *_nearest(target, ask)))
        if self.url is not None:
            answer = target.world.http.request("GET", target.fill(self.url), timeout=self.timeout / 2)
            readings.append(self._judge_http(target, answer.headers.get("date"), answer.elapsed))
        return all_of(readings)

    def _judge(self, what: str, ahead: float, doubt: float) -> Reading:
        way = "ahead" if ahead >= 0 else "behind"
        shown = (
            f"{what} is {show_seconds(abs(ahead))} {way} (± {show_seconds(doubt)}), limit {show_seconds(self.limit)}"
        )
        if abs(ahead) + doubt <= self.limit:
            outcome = Outcome.PASSED
        else:
            outcome = Outcome.FAILED if abs(ahead) - doubt > self.limit else Outcome.UNKNOWN
        return Reading(outcome, shown, round(abs(ahead), 3), "s", self.limit)

    def _judge_http(self, target: Target, date: str | None, elapsed: float) -> Reading:
        now = target.world.clock.now().timestamp()
        try:
            told = parsedate_to_datetime(date or "").timestamp()
        except ValueError:
            return unknown("the server tells no date")
        # It was cut to whole seconds, at some moment while the answer was on its way.
        return self._judge("the server", told + 0.5 - (now - elapsed / 2), 0.5 + elapsed / 2)


def _nearest(target: Target, ask: Callable[[], Any]) -> tuple[float, float]:
    """Return by how much a clock is ahead, and the doubt of that, from the quickest of a few answers."""
    best = (0.0, float("inf"))
    for _ in range(_ASKED):
        before = target.world.clock.now().timestamp()
        told = float(ask())
        after = target.world.clock.now().timestamp()
        best = min(best, (told - (before + after) / 2, (after - before) / 2), key=lambda one: one[1])
    return best


def _of_host(target: Target) -> float:
    return float(target.world.host.run(Command(("date", "+%s.%N"), timeout=10.0)).stdout)
