"""The jobs of a scheduler, and when each runs next."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from tasks.checks import Check
from tasks.domain.asking import Request, answer_or_blame
from tasks.domain.condition import all_of, at_path, held, show
from tasks.domain.kind import Duration
from tasks.domain.outcome import Reading, failed, passed, unknown
from tasks.domain.target import Target
from tasks.domain.units import show_seconds

_LARGEST_SECONDS = 1e11  # a number beyond it is in milliseconds


class SchedulerJobs(Check):
    """Looks whether a scheduler knows the jobs that it should, and will run each of them."""

    kind: Literal["scheduler_jobs"] = "scheduler_jobs"
    """Which kind of check this is."""
    request: Annotated[Request | None, Field(examples=[{"url": "{base_url}/api/scheduler/jobs"}])] = None
    """The request whose JSON answer lists the jobs."""
    at: Annotated[str, Field(examples=["jobs"])] = "jobs"
    """Where the list is in that answer; empty if the answer is the list."""
    query: Annotated[str | None, Field(examples=["SELECT name AS id, next_run AS next_run_time FROM job"])] = None
    """Or the query that lists the jobs."""
    id: str = "id"
    """Where the name of a job is in its entry, or the column."""
    next_run: str = "next_run_time"
    """Where the time of its next run is, or the column; without a time zone it is taken as UTC."""
    jobs: tuple[str, ...] = Field(default=(), examples=[["daily_report", "sync"]])
    """The jobs that must be there; by default all that are there are judged."""
    at_least: Annotated[int, Field(ge=0)] = 1
    """The least number of jobs."""
    grace: Annotated[Duration, Field(ge=0)] = 60.0
    """How long ago the next run of a job may have been due."""
    within: Annotated[Duration | None, Field(gt=0, examples=["25h"])] = None
    """Within which time from now each must run next."""
    dsn: str = "{dsn}"
    """The database; by default that of the system."""

    @model_validator(mode="after")
    def _asks_one_thing(self) -> Self:
        if (self.request is None) is (self.query is None):
            raise ValueError("either request or query is needed")
        return self

    def look(self, target: Target) -> Reading:
        """Return which jobs are missing, paused or overdue; an answer without a list is unknown."""
        entries = self._entries(target)
        if isinstance(entries, Reading):
            return entries
        found = {str(at_path(entry, self.id)): at_path(entry, self.next_run) for entry in entries}
        readings = [held(f"{len(found)} jobs ≥ {self.at_least}", len(found) >= self.at_least)]
        now = target.world.clock.now()
        readings += [failed(f"there is no job {name}") for name in self.jobs if name not in found]
        readings += [self._judge(name, due, now) for name, due in found.items() if name in self.jobs or not self.jobs]
        return all_of(readings, value=len(found), unit="jobs", detail={"jobs": {n: str(v) for n, v in found.items()}})

    def _judge(self, name: str, value: Any, now: datetime) -> Reading:
        if value is None:
            return failed(f"{name} is paused: it has no next run")
        due = _moment(value)
        if due is None:
            return unknown(f"{name}: {show(value)} is not a time")
        ahead = (due - now).total_seconds()
        if ahead < -self.grace:
            return failed(f"{name} was due {show_seconds(-ahead)} ago")
        if self.within is not None and ahead > self.within:
            return failed(f"{name} runs in {show_seconds(ahead)} ≤ {show_seconds(self.within)}")
        return passed(f"{name} runs in {show_seconds(max(0.0, ahead))}")

    def _entries(self, target: Target) -> list[Mapping[str, Any]] | Reading:
        if self.query is not None:
            dsn = target.fill(self.dsn)
            with target.world.databases.session(dsn, read_only=True, statement_timeout=self.timeout) as session:
                return list(session.query(self.query))
        request = (self.request or Request(url="")).filled(target)
        answer = answer_or_blame(request, target, self.timeout, None)
        if isinstance(answer, Reading):
            return answer
        if answer.status != 200:
            return failed(f"status {answer.status} = 200")
        try:
            entries = at_path(json.loads(answer.body), self.at)
        except ValueError:
            return unknown("the answer is not JSON")
        return entries if isinstance(entries, list) else unknown(f"there is no list at {self.at or 'its top'}")


def _moment(value: Any) -> datetime | None:
    """Return a time that is written as ISO 8601 or as in e-mail, or counted from 1970 in seconds or milliseconds."""
    try:
        if isinstance(value, int | float) and not isinstance(value, bool):
            return datetime.fromtimestamp(value / 1000 if value > _LARGEST_SECONDS else value, UTC)
        found = value if isinstance(value, datetime) else _written(str(value))
    except (ValueError, OverflowError, OSError):
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _written(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return parsedate_to_datetime(text)
