"""The latency now against that before the release."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field

from tasks.checks import Check
from tasks.domain.asking import Burst, Controlled, Request, Status, blame, burst
from tasks.domain.errors import Inconclusive
from tasks.domain.kind import Duration, Share
from tasks.domain.outcome import Outcome, Reading, failed, unknown
from tasks.domain.statistics import summarise, thinned
from tasks.domain.target import Target
from tasks.domain.triggers import ENOUGH_BASELINE, ENOUGH_BURST, Alarm, Finding, Slower, slower


class Baseline(Request, Controlled, Check):
    """Compares the latency of requests with what was recorded before the release."""

    kind: Literal["baseline"] = "baseline"
    """Which kind of check this is."""
    samples: Annotated[int, Field(ge=30, le=1000)] = 30
    """How many requests one look sends."""
    record_samples: Annotated[int, Field(ge=300, le=3000)] = 300
    """How many requests are sent to record the baseline; 240 must be answered."""
    concurrency: Annotated[int, Field(ge=1, le=16)] = 4
    """How many requests are sent at the same time, both for the baseline and for the comparison."""
    than: Annotated[Share, Field(gt=0)] = 0.50
    """How much slower than the baseline is too slow: 50% means 1.5 times as long."""
    floor: Annotated[Duration, Field(ge=0)] = 0.05
    """By how much the median must have grown at least."""
    status: Status | tuple[Status, ...] = 200
    """The status that is right, or a list of those that are."""
    each: Duration = 10.0
    """After how long one request is given up; it counts as an error then and not as a latency."""

    @property
    def compares(self) -> bool:
        """Whether it needs a baseline, which it always does."""
        return True

    def look(self, target: Target) -> Reading:
        """Return whether answers take longer than before; a first burst that does is confirmed by a second."""
        before = target.baseline.get(self.name, {}).get("latencies", ())
        if not before:
            return unknown("no baseline is on record; it is recorded before the release, while the old version serves")
        return self._compare(target, before, None)

    def _compare(self, target: Target, before: Sequence[float], previous: Finding | None) -> Reading:
        found = self._burst(target, self.samples)
        if len(found.latencies) < ENOUGH_BURST:
            return self._too_few(target, found)
        finding = slower(Slower(than=self.than, floor=self.floor), found.latencies, before, previous)
        if finding.state is Alarm.SUSPICIOUS:
            return self._compare(target, before, finding)
        detail = {**finding.evidence, "latencies": thinned(found.latencies)}
        outcome = {Alarm.FIRES: Outcome.FAILED, Alarm.QUIET: Outcome.PASSED}.get(finding.state, Outcome.UNKNOWN)
        return Reading(outcome, finding.seen, detail=detail)

    def record(self, target: Target) -> Mapping[str, Any]:
        """Return the latencies of the version that serves now, to be kept as the baseline.

        Raises `Inconclusive` if fewer than 240 requests were answered.
        """
        found = self._burst(target, self.record_samples)
        if len(found.latencies) < ENOUGH_BASELINE:
            problems = ", ".join(f"{count} × {problem}" for problem, count in found.problems.items())
            raise Inconclusive(
                f"{len(found.latencies)} of {found.wanted} answered rightly ({problems or 'time for no more'})",
                expected=f"at least {ENOUGH_BASELINE}",
                where=self.name,
                do="look at the service before releasing; if it is only slow, raise the check's timeout",
            )
        return {"latencies": thinned(found.latencies, len(found.latencies)), **summarise(found.latencies).as_json()}

    def _burst(self, target: Target, wanted: int) -> Burst:
        status = self.status if isinstance(self.status, tuple) else (self.status,)
        request = self.filled(target)
        return burst(target, request, wanted, self.concurrency, each=self.each, total=self.timeout, status=status)

    def _too_few(self, target: Target, found: Burst) -> Reading:
        if found.silence:
            return blame(target, target.fill(self.url), found.silence, self.control)
        seen = f"{len(found.latencies)} of {found.asked} requests answered rightly"
        if found.asked < ENOUGH_BURST:
            return unknown(f"{seen}, time for no more")
        return failed(seen, detail={"problems": dict(found.problems)})
