"""How many pieces of work are finished in a minute."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from tasks.checks import Check
from tasks.domain.asking import Request
from tasks.domain.condition import show
from tasks.domain.errors import OutsideError
from tasks.domain.exposition import Metric, samples, total
from tasks.domain.kind import Duration
from tasks.domain.outcome import Reading, judge_limit, unknown
from tasks.domain.target import Target


class Throughput(Check):
    """Reckons how many pieces of work are finished in a minute, of finished ones or by watching a counter."""

    kind: Literal["throughput"] = "throughput"
    """Which kind of check this is."""
    batch: Annotated[
        str | None,
        Field(examples=["SELECT count(*) AS items, extract(epoch FROM max(ended) - min(begun)) AS seconds FROM run"]),
    ] = None
    """A query of finished work: one row with ``items``, and the ``seconds`` that they took together."""
    counter: Annotated[str | None, Field(examples=["SELECT count(*) FROM run WHERE state = 'done'"])] = None
    """A query of one number that grows with each finished piece of work."""
    metric: Annotated[Metric | None, Field(examples=['jobs_total{state="done"}'])] = None
    """A counter of the service's metrics, by its name and labels."""
    metrics: Request = Request(url="{base_url}/metrics")
    """Where the service shows its metrics."""
    window: Annotated[Duration, Field(gt=0)] = 20.0
    """For how long a counter is watched; it must be shorter than ``timeout``."""
    at_least: Annotated[float, Field(gt=0, examples=[100])]
    """The least that must be finished in a minute."""
    min_items: Annotated[int, Field(ge=1)] = 10
    """The least number of pieces of work from which a rate is reckoned; fewer say nothing."""
    dsn: str = "{dsn}"
    """The database; by default that of the system."""

    @model_validator(mode="after")
    def _asks_one_thing(self) -> Self:
        given = [name for name in ("batch", "counter", "metric") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"one of batch, counter, metric is needed, not {' and '.join(given) or 'none'}")
        if self.batch is None and self.window >= self.timeout:
            raise ValueError(f"window must be shorter than timeout, {self.window:g} s < {self.timeout:g} s")
        return self

    def look(self, target: Target) -> Reading:
        """Return the rate against its limit; too little work, or a counter that went back, is unknown."""
        items, seconds = self._finished(target) if self.batch is not None else self._watched(target)
        detail = {"items": items, "seconds": round(seconds, 3)}
        if items < 0:
            return unknown("the counter went back meanwhile", detail=detail)
        if items < self.min_items or seconds <= 0:
            return unknown(f"{items:g} finished in {seconds:.1f} s, {self.min_items} are needed to tell", detail=detail)
        what = f"{items:g} finished in {seconds:.1f} s:"
        found = judge_limit(round(items * 60 / seconds, 1), self.at_least, "/min", what, at_least=True)
        return Reading(found.outcome, found.seen, found.value, found.unit, found.limit, detail)

    def _finished(self, target: Target) -> tuple[float, float]:
        rows = self._rows(target, self.batch or "")
        if len(rows) != 1 or not {"items", "seconds"} <= rows[0].keys():
            raise OutsideError("the query does not return what is needed", expected="one row of items and seconds")
        return _number(rows[0]["items"] or 0), _number(rows[0]["seconds"] or 0)

    def _watched(self, target: Target) -> tuple[float, float]:
        clock = target.world.clock
        before, start = self._count(target), clock.monotonic()
        clock.sleep(self.window)
        after = self._count(target)
        return after - before, clock.monotonic() - start

    def _count(self, target: Target) -> float:
        if self.metric is None:
            rows = self._rows(target, self.counter or "")
            return _number(next(iter(rows[0].values())) if rows else None)
        answer = self.metrics.filled(target).send(target, self.timeout)
        try:
            found = total(samples(answer.body.decode()), self.metric) if answer.status == 200 else None
        except ValueError:
            found = None
        if found is None:
            raise OutsideError(f"status {answer.status} and no {self.metric}", where=self.metrics.url)
        return found

    def _rows(self, target: Target, query: str) -> list[dict[str, Any]]:
        dsn = target.fill(self.dsn)
        with target.world.databases.session(dsn, read_only=True, statement_timeout=self.timeout) as session:
            return session.query(query)


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError) as error:
        raise OutsideError(f"{show(value)} is not a number", where="the query") from error
