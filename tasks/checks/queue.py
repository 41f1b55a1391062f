"""Work that waits in a table of the database."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from tasks.checks import Check
from tasks.domain.condition import all_of
from tasks.domain.kind import Duration
from tasks.domain.outcome import Reading, judge_limit, passed
from tasks.domain.ports import Session
from tasks.domain.target import Target


class Queue(Check):
    """Looks how much work waits in a table, how long the oldest has waited, and how long work waits until it begins."""

    advice: ClassVar[str] = (
        "see whether its consumers run (golive logs SYSTEM) and whether what they take fails again and again"
    )

    kind: Literal["queue"] = "queue"
    """Which kind of check this is."""
    waiting: Annotated[str | None, Field(examples=["SELECT run_at FROM due_work WHERE run_at <= now()"])] = None
    """A query of what waits: one row each, whose only column is since when. Without a time zone it is taken as UTC."""
    depth: Annotated[int | None, Field(ge=0)] = None
    """The most that may wait."""
    oldest: Annotated[Duration | None, Field(gt=0)] = None
    """How long the oldest may have waited."""
    begun: Annotated[
        str | None,
        Field(
            examples=["SELECT started_at - due_at FROM run WHERE started_at > now() - interval '1 hour'"],
        ),
    ] = None
    """A query of what has begun lately: one row each, whose only column is how long it waited, as an interval."""
    wait: Annotated[Duration | None, Field(gt=0)] = None
    """The most that ``percentile`` of these waits may be; nothing begun is unknown."""
    percentile: Annotated[float, Field(gt=0, le=100)] = 95
    """Which percentile of the waits is judged."""
    dsn: str = "{dsn}"
    """The database; by default that of the system."""

    @model_validator(mode="after")
    def _limits_what_it_asks(self) -> Self:
        if (self.depth is None and self.oldest is None) is not (self.waiting is None):
            raise ValueError("waiting needs depth or oldest, and these need waiting")
        if (self.wait is None) is not (self.begun is None):
            raise ValueError("begun and wait need each other")
        if self.waiting is None and self.begun is None:
            raise ValueError("waiting or begun is needed")
        return self

    def look(self, target: Target) -> Reading:
        """Return whether the queue is short and fast enough."""
        dsn = target.fill(self.dsn)
        readings: list[Reading] = []
        detail: dict[str, Any] = {}
        with (
            target.world.databases.session(dsn, read_only=True, statement_timeout=self.timeout) as session,
            session.transaction(),
        ):
            session.query("SELECT set_config('TimeZone', 'UTC', true)")
            if self.waiting is not None:
                readings += self._waiting(session, self.waiting, detail)
            if self.begun is not None:
                readings.append(self._begun(session, self.begun, detail))
        return all_of(readings, detail=detail)

    def _waiting(self, session: Session, query: str, detail: dict[str, Any]) -> list[Reading]:
        row = session.query(
            "SELECT count(*) AS depth, extract(epoch FROM now() - min(since))::float8 AS oldest"  # noqa: S608 - the file's own
            f" FROM ({_inner(query)}\n) AS waiting(since)"
        )[0]
        detail |= {"depth": row["depth"], "oldest_seconds": row["oldest"]}
        readings = []
        if self.depth is not None:
            readings.append(judge_limit(row["depth"], self.depth, "items", "waiting:"))
        if self.oldest is not None:
            if row["depth"] == 0:
                readings.append(passed("nothing waits"))
            else:
                age = None if row["oldest"] is None else round(max(0.0, row["oldest"]), 1)
                readings.append(judge_limit(age, self.oldest, "s", "the oldest has waited"))
        return readings

    def _begun(self, session: Session, query: str, detail: dict[str, Any]) -> Reading:
        row = session.query(
            "SELECT count(waited) AS begun, extract(epoch FROM percentile_cont(%(share)s::float8)"  # noqa: S608
            " WITHIN GROUP (ORDER BY waited))::float8 AS wait"
            f" FROM ({_inner(query).replace('%', '%%')}\n) AS begun(waited)",
            {"share": self.percentile / 100},
        )[0]
        detail |= {"begun": row["begun"], "wait_seconds": row["wait"]}
        value = None if row["wait"] is None else round(row["wait"], 3)
        return judge_limit(value, self.wait or 0, "s", f"p{self.percentile:g} of {row['begun']} waits")


def _inner(query: str) -> str:
    return query.rstrip().rstrip(";")
