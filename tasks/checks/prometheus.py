"""What Prometheus answers to a query."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from tasks.checks import Check
from tasks.domain.api import Api
from tasks.domain.condition import all_of
from tasks.domain.errors import OutsideError
from tasks.domain.kind import Duration
from tasks.domain.off_peak import Counted
from tasks.domain.outcome import Reading, failed, judge_limit, passed, unknown
from tasks.domain.target import Target
from tasks.domain.units import milliseconds, show_seconds

_POINTS = 240
_MOST_POINTS = 10_000  # Prometheus refuses more than 11,000
_COVERED = 0.8
_MOST_KEPT = 20
_HOUR = timedelta(hours=1)
Series = tuple[str, list[float]]


class Prometheus(Api, Check):
    """Asks Prometheus one query, at this moment or over a time, and holds each series against limits."""

    kind: Literal["prometheus"] = "prometheus"
    """Which kind of check this is."""
    query: Annotated[str, Field(min_length=1, examples=['rate(http_requests_total{job="api"}[5m])'])]
    """The query in PromQL, where ``or vector(0)`` makes a zero of no data; without a limit, any data will do."""
    over: Annotated[Duration | None, Field(gt=0, examples=["1h"])] = None
    """Over which time until now to look; by default at this moment."""
    back_to_last_look: bool = True
    """Whether ``over`` reaches back to the check's last look in the release where that is longer ago, so that a look
    that comes late misses nothing."""
    take: Literal["worst", "average"] = "worst"
    """Of the points of a time, the one that is worst for the limit, or their average."""
    at_least: float | None = None
    """The least that each series may be."""
    at_most: float | None = None
    """The most that each series may be."""
    unit: str = ""
    """The unit of the value, for the report."""
    fresh: Annotated[Duration, Field(gt=0)] = 180.0
    """How old the last sample of a series may be; an older one says nothing. It must exceed the scrape interval."""

    @model_validator(mode="after")
    def _limits_a_time(self) -> Self:
        if self.over is not None and self.at_least is None and self.at_most is None:
            raise ValueError("over needs at_least or at_most")
        return self

    def look(self, target: Target) -> Reading:
        """Return whether each series keeps within the limits; no data, NaN, gaps or old samples are unknown."""
        has_limit = self.at_least is not None or self.at_most is not None
        over = self._over(target)
        series = self._range(target, over) if over is not None else self._now(target)
        if not series:
            return unknown(f"{self.query}: no data") if has_limit else failed(f"{self.query} has no data")
        old = self._age(target)
        if old is None or not old <= self.fresh:
            age = "gone" if old is None else f"{show_seconds(old)} old ≤ {show_seconds(self.fresh)}"
            return unknown(f"{self.query}: the last sample is {age}")
        if not has_limit:
            return passed(f"{self.query} has data, {len(series)} series", value=len(series), unit="series")
        found = all_of([self._judge(name, points, over) for name, points in series])
        kept = {name or self.query: points[-1] if points else None for name, points in series[:_MOST_KEPT]}
        latest = {name: value if value is not None and math.isfinite(value) else None for name, value in kept.items()}
        return Reading(
            found.outcome, found.seen, found.value, found.unit, found.limit, {"query": self.query, "latest": latest}
        )

    def hours_before(self, target: Target, *, at: datetime, back: timedelta) -> list[Counted]:
        """Return how many came in each full hour before a moment, where the query gives so many a second.

        An hour of which Prometheus has nothing is left out.
        """
        end = at.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
        begin = end - back + _HOUR
        asked = f"sum(avg_over_time(({self.query})[1h:5m]))"
        times = {"start": f"{begin.timestamp():.0f}", "end": f"{end.timestamp():.0f}", "step": "3600"}
        found = self._asked(target, "/api/v1/query_range", {"query": asked, **times})["result"]
        ends = [(datetime.fromtimestamp(float(of), UTC), float(rate)) for one in found for of, rate in one["values"]]
        return [Counted(until - _HOUR, until, rate * _HOUR.total_seconds()) for until, rate in ends]

    def _over(self, target: Target) -> float | None:
        if self.over is None or not self.back_to_last_look:
            return self.over
        return target.back_to_last_look(self.name, self.over)

    def _judge(self, name: str, points: Sequence[float], over: float | None) -> Reading:
        what = name or self.query
        if over is not None:
            wanted = round(over / self._step(over))
            if len(points) < _COVERED * wanted:
                return unknown(f"{what}: {len(points)} of {wanted} points have data, {_COVERED:.0%} are needed")
            what = f"{self.take} of {what} over {show_seconds(over)}"
        if not all(math.isfinite(point) for point in points):
            return unknown(f"{what} is not a finite number")
        readings = []
        for limit, at_least in ((self.at_least, True), (self.at_most, False)):
            if limit is not None:
                worst = min(points) if at_least else max(points)
                value = worst if self.take == "worst" else sum(points) / len(points)
                readings.append(judge_limit(value, limit, self.unit, what, at_least=at_least))
        return all_of(readings)

    def _now(self, target: Target) -> list[Series]:
        return _series(self._asked(target, "/api/v1/query", {"query": self.query}))

    def _range(self, target: Target, over: float) -> list[Series]:
        end, step = target.world.clock.now().timestamp(), self._step(over)
        times = {"start": f"{end - over + step:.3f}", "end": f"{end:.3f}", "step": f"{step:.3f}"}
        return _series(self._asked(target, "/api/v1/query_range", {"query": self.query, **times}))

    def _step(self, over: float) -> float:
        """Return the seconds between two points: as few as for ``over`` itself, so that a longer time is no coarser."""
        return max(1.0, (self.over or over) / _POINTS, over / _MOST_POINTS)

    def _age(self, target: Target) -> float | None:
        """Return the age of the oldest last sample; what Prometheus reckons from samples is as new as the question."""
        asked = f"time() - min(timestamp({self.query}))"
        series = _series(self._asked(target, "/api/v1/query", {"query": asked}))
        return series[0][1][-1] if series else None

    def _asked(self, target: Target, path: str, params: Mapping[str, str]) -> Mapping[str, Any]:
        document = self.ask(
            target, path, {**params, "timeout": f"{milliseconds(self.timeout)}ms"}, timeout=self.timeout
        )
        data: Mapping[str, Any] = document["data"]
        return data


def _series(data: Mapping[str, Any]) -> list[Series]:
    """Return each series of an answer, named by its labels."""
    if data["resultType"] not in {"vector", "matrix"}:
        raise OutsideError(f"the query gives a {data['resultType']}", expected="series", do="write it as vector(…)")
    return [
        (_name(one["metric"]), [float(value) for _at, value in one.get("values") or [one["value"]]])
        for one in data["result"]
    ]


def _name(labels: Mapping[str, str]) -> str:
    inner = ",".join(f'{key}="{value}"' for key, value in sorted(labels.items()) if key != "__name__")
    return labels.get("__name__", "") + (f"{{{inner}}}" if inner else "")
