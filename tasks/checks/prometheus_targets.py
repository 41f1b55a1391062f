"""What Prometheus scrapes."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field

from tasks.checks import Check
from tasks.domain.api import Api
from tasks.domain.condition import all_of
from tasks.domain.kind import Duration
from tasks.domain.outcome import Reading, failed, passed, unknown
from tasks.domain.target import Target
from tasks.domain.units import show_seconds


class PrometheusTargets(Api, Check):
    """Looks whether Prometheus reaches the targets of its jobs, and scraped them lately."""

    kind: Literal["prometheus_targets"] = "prometheus_targets"
    """Which kind of check this is."""
    jobs: tuple[str, ...] = Field(default=(), examples=[["api", "worker"]])
    """The jobs that must have targets, all of them up; by default those of all jobs that there are."""
    at_least: Annotated[int, Field(ge=1)] = 1
    """The least number of targets that each job must have."""
    fresh: Annotated[Duration, Field(gt=0)] = 180.0
    """How long ago the last scrape of a target may be. It must exceed the scrape interval."""

    def look(self, target: Target) -> Reading:
        """Return which targets are not up; none at all, or one not scraped yet or lately, is unknown."""
        document = self.ask(target, "/api/v1/targets", {"state": "active"}, timeout=self.timeout)
        active = document["data"]["activeTargets"]
        by_job: dict[str, list[Mapping[str, Any]]] = {job: [] for job in self.jobs}
        for one in active:
            job = one["labels"].get("job", "")
            if job in by_job or not self.jobs:
                by_job.setdefault(job, []).append(one)
        if not by_job:
            return unknown("Prometheus has no targets")
        readings = []
        for job, targets in by_job.items():
            if len(targets) < self.at_least:
                readings.append(failed(f"job {job} has {len(targets)} targets ≥ {self.at_least}"))
            readings += [self._judge(target, job, one) for one in targets]
        up = sum(one["health"] == "up" for targets in by_job.values() for one in targets)
        health = {one["scrapeUrl"]: one["health"] for targets in by_job.values() for one in targets}
        detail = {"targets": {target.world.secrets.mask(place): state for place, state in health.items()}}
        return all_of(readings, value=up, unit="targets", detail=detail)

    def _judge(self, target: Target, job: str, one: Mapping[str, Any]) -> Reading:
        name = f"{job} {one['labels'].get('instance', '')}".strip()
        if one["health"] == "down":
            return failed(target.world.secrets.mask(f"{name} is down: {one['lastError'][:200]}"))
        if one["health"] != "up":
            return unknown(f"{name} was not scraped yet")
        ago = (target.world.clock.now() - datetime.fromisoformat(one["lastScrape"])).total_seconds()
        if ago > self.fresh:
            return unknown(f"{name} was scraped {show_seconds(ago)} ago ≤ {show_seconds(self.fresh)}")
        return passed(f"{name} is up")
