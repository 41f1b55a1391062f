"""Statements that take long, by pg_stat_statements."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from tasks.checks._counting import Counting, Counts, without_window
from tasks.domain.blockers import shown_query
from tasks.domain.condition import all_of, regular
from tasks.domain.counters import Window
from tasks.domain.kind import Duration
from tasks.domain.outcome import Outcome, Reading, unknown
from tasks.domain.ports import Session
from tasks.domain.statements import Spent, Statements, mostly_gone, spent, statements
from tasks.domain.visibility import hidden


class SlowQueries(Counting):
    """Looks which statements took longer than they may since an earlier look, by pg_stat_statements."""

    advice: ClassVar[str] = (
        "look at its plan: EXPLAIN (ANALYZE, BUFFERS) of the query; what moved most in the report tells whether "
        "it is new"
    )

    kind: Literal["slow_queries"] = "slow_queries"
    """Which kind of check this is."""
    mean: Duration | None = 0.5
    """The longest that a statement may take on average."""
    max: Duration | None = None
    """The longest that a single call may take."""
    min_calls: Annotated[int, Field(ge=1)] = 20
    """How often a statement must have been called to be judged; it is unknown if none was."""
    role: str | None = Field(default=None, examples=["app"])
    """Only the statements of this role, by its bare name, as that of the application."""
    pattern: str | None = Field(default=None, examples=["task_status_history"])
    """Only statements in whose text this regular expression is found, in capitals or not."""
    evictions: Annotated[int, Field(ge=0)] = 0
    """How often the server may have thrown rare statements out of its list meanwhile (``pg_stat_statements.max``);
    what they took is lost, so that beyond it a pass is unknown."""
    top: Annotated[int, Field(ge=1, le=100)] = 10
    """How many of the statements that took the most time in all are kept as evidence."""

    _pattern = field_validator("pattern")(regular)

    @model_validator(mode="after")
    def _asks_something(self) -> Self:
        if self.mean is None and self.max is None:
            raise ValueError("one of mean, max is needed")
        return self

    def count(self, session: Session) -> Counts:
        """Return the counters of each statement."""
        found = statements(session, role=self.role, pattern=self.pattern)
        values = {"evicted": found.evicted, "statements": {one.key: one.as_json() for one in found.seen}}
        return Counts(values, found, {"statements": found.reset}, found.reset)

    def judge(self, session: Session, now: Counts, window: Window | str) -> Reading:
        """Return the statements over a limit, or the slowest of those that were called often enough."""
        if isinstance(window, str):
            return without_window("how long statements took", window)
        before = window.before.get("statements", {})
        found: Statements = now.rows
        if found.reset is None and mostly_gone(before, now.values["statements"]):
            return unknown("most statements have vanished from pg_stat_statements: it was reset")
        did = [spent(one, before.get(one.key)) for one in found.seen]
        judged = [one for one in did if one.calls >= self.min_calls]
        readings = [self._judge(one, window.told) for one in judged if self._is_slow(one)]
        if not judged:
            seen = f"none of {len(did)} statements was called {self.min_calls} times {window.told}"
            readings.append(unknown(seen))
        elif not readings:
            readings.append(self._judge(max(judged, key=lambda one: one.mean), window.told))
        if found.hidden:
            readings.append(hidden(session, f"{found.hidden} statements are"))
        lost = (found.evicted or 0) - (window.before.get("evicted") or 0)
        if lost > self.evictions:
            seen = f"statements were thrown out of the list {lost} times: raise pg_stat_statements.max"
            readings.append(unknown(seen))
        most = sorted(did, key=lambda one: one.total, reverse=True)[: self.top]
        return all_of(readings, detail={"top": [_evidence(one) for one in most], "judged": len(judged)})

    def _is_slow(self, one: Spent) -> bool:
        too_long = self.max is not None and one.longest is not None and one.longest > self.max * 1000
        return too_long or (self.mean is not None and one.mean > self.mean * 1000)

    def _judge(self, one: Spent, told: str) -> Reading:
        outcome = Outcome.FAILED if self._is_slow(one) else Outcome.PASSED
        words, value, limit = [], one.mean, self.mean
        if self.mean is not None:
            words.append(f"mean {one.mean:.1f} ms ≤ {self.mean * 1000:g} ms")
        if self.max is not None:
            longest = "no new longest call" if one.longest is None else f"longest call {one.longest:.1f} ms"
            words.append(f"{longest} ≤ {self.max * 1000:g} ms")
            if self.mean is None or one.mean <= self.mean * 1000:
                value, limit = one.longest or one.mean, self.max
        seen = f"{', '.join(words)} in {one.calls} calls {told}: {shown_query(one.query)}"
        return Reading(outcome, seen, value=round(value, 3), unit="ms", limit=(limit or 0) * 1000)


def _evidence(one: Spent) -> dict[str, Any]:
    return {
        "query": shown_query(one.query),
        "calls": one.calls,
        "total_ms": round(one.total, 1),
        "mean_ms": round(one.mean, 3),
    }
