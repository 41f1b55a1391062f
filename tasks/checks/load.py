"""The latency and the errors of many requests."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from tasks.checks import Check
from tasks.domain.asking import Burst, Controlled, Request, Status, blame, burst
from tasks.domain.condition import all_of
from tasks.domain.kind import Duration, Share
from tasks.domain.outcome import Outcome, Reading, judge_limit, unknown
from tasks.domain.statistics import summarise, thinned
from tasks.domain.target import Target

ENOUGH = 0.80
"""The share of the requests that must have been sent."""


class Load(Request, Controlled, Check):
    """Sends many requests at once and holds their latencies and errors against limits."""

    kind: Literal["load"] = "load"
    """Which kind of check this is."""
    requests: Annotated[int, Field(ge=10, le=100_000)] = 200
    """How many requests are sent; none after the check's ``timeout``."""
    concurrency: Annotated[int, Field(ge=1, le=64)] = 4
    """How many of them at the same time."""
    status: Status | tuple[Status, ...] = 200
    """The status that is right, or a list of those that are."""
    each: Duration = 10.0
    """After how long one request is given up and counts as an error."""
    p50: Duration | None = None
    """The longest that half of the right answers may take."""
    p95: Duration | None = None
    """The longest that 95 % of the right answers may take."""
    p99: Duration | None = None
    """The longest that 99 % of the right answers may take."""
    errors: Annotated[Share, Field(ge=0, lt=1)] = 0.01
    """The largest share of requests without a right answer in time."""

    def acts(self, phase: str) -> str:  # noqa: ARG002 - the same in every phase
        """Return what load it puts on the target."""
        return f"sends {self.requests} {self.method} requests, {self.concurrency} at a time"

    def look(self, target: Target) -> Reading:
        """Return percentiles and errors against their limits; unknown if the time did not suffice for the requests."""
        request = self.filled(target)
        status = self.status if isinstance(self.status, tuple) else (self.status,)
        found = burst(
            target, request, self.requests, self.concurrency, each=self.each, total=self.timeout, status=status
        )
        if found.silence and not found.latencies:
            return blame(target, request.url, found.silence, self.control)
        if found.silence and found.asked - len(found.latencies) > self.errors * found.asked:
            culprit = blame(target, request.url, found.silence, self.control)
            if culprit.outcome is Outcome.UNKNOWN:
                return culprit
        return self._judge(found)

    def _judge(self, found: Burst) -> Reading:
        summary = summarise(found.latencies)
        detail = {
            "percentiles": summary.as_json(),
            "latencies": thinned(found.latencies),
            "requests": found.asked,
            "problems": dict(found.problems),
            "per_second": round(found.asked / found.took, 1) if found.took else None,
        }
        if found.asked < ENOUGH * found.wanted:
            return unknown(f"time for {found.asked} of {found.wanted} requests only", detail=detail)
        share = 100 * (found.asked - len(found.latencies)) / found.asked
        limits = {"p50": self.p50, "p95": self.p95, "p99": self.p99}
        readings = [
            judge_limit(round(getattr(summary, name) * 1000, 1), limit * 1000, "ms", name)
            for name, limit in limits.items()
            if limit is not None
        ]
        readings.append(judge_limit(round(share, 2), self.errors * 100, "%", "errors"))
        return all_of(readings, detail=detail)
