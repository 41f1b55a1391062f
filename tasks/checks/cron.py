"""Jobs that the machine must run by itself."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

from cronsim import CronSim, CronSimError
from pydantic import Field, field_validator, model_validator

from tasks.checks import Check
from tasks.domain.condition import all_of, held, regular
from tasks.domain.errors import ToolMissing
from tasks.domain.kind import Duration
from tasks.domain.outcome import Outcome, Reading, combine, failed, passed, unknown
from tasks.domain.ports import Command
from tasks.domain.target import Target
from tasks.domain.units import show_seconds

_NAMES = {
    "@hourly": "0 * * * *", "@daily": "0 0 * * *", "@midnight": "0 0 * * *", "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *", "@yearly": "0 0 1 1 *", "@annually": "0 0 1 1 *",
}  # fmt: skip
_ENTRY = re.compile(r"(@\w+|(?:\S+\s+){4}\S+)\s+(.+)")
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*\s*=")
_SYSTEM_TABLE, _SYSTEM_TABLES = Path("/etc/crontab"), Path("/etc/cron.d")
_RAN = re.compile(r"\d{4}-\d{2}-\d{2} \d{2}:\d{2}:\d{2} UTC")
_FIRINGS = 400
_NONE_FOR_USER = 1


@dataclass(frozen=True)
class _Job:
    table: str
    user: str
    schedule: str
    command: str


class Cron(Check):
    """Looks whether a job is in a crontab, or a timer of systemd is active, and comes often enough."""

    of_machine: ClassVar[bool] = True

    kind: Literal["cron"] = "cron"
    """Which kind of check this is."""
    pattern: str | None = Field(default=None, examples=["daily_backup\\.sh"])
    """A regular expression that is found in the job's command; what is commented out does not count."""
    timer: Annotated[str | None, Field(pattern=r"^[A-Za-z0-9:_.@\\-]+\.timer$", examples=["backup.timer"])] = None
    """A timer of systemd that must be active instead."""
    user: str | None = Field(default=None, examples=["postgres"])
    """Whose job it must be, looked for in that user's crontab and the system's; by default golive's own user's."""
    schedule: str | None = Field(default=None, examples=["0 2 * * *"])
    """The job's schedule as its crontab has it; spaces are one."""
    at_least_every: Duration | None = Field(default=None, examples=["1d"])
    """How long it may be from one run to the next; of a timer, since its last run."""

    _pattern = field_validator("pattern")(regular)

    @model_validator(mode="after")
    def _asks_for_one(self) -> Self:
        if bool(self.pattern) == bool(self.timer):
            raise ValueError("one of pattern, timer is needed")
        if self.timer and (self.schedule or self.user):
            raise ValueError("a timer has neither schedule nor user")
        return self

    def look(self, target: Target) -> Reading:
        """Return whether there is such a job; where the crontabs cannot be read, that is unknown."""
        if self.timer is not None:
            return self._look_at_timer(target, self.timer)
        jobs, unread = self._jobs(target)
        found = [job for job in jobs if re.search(self.pattern or "", job.command)]
        if not found:
            seen = f"no job ~ {self.pattern} among {len(jobs)}"
            return unknown(f"{seen}; {unread}") if unread else failed(seen)
        judged = [self._judge(job, target.world.clock.now()) for job in found]
        good = [reading for reading in judged if reading.outcome is Outcome.PASSED]
        detail = [{"table": job.table, "user": job.user, "schedule": job.schedule} for job in found]
        outcome = combine(reading.outcome for reading in good or judged)
        return Reading(outcome, "; ".join(one.seen for one in good or judged), detail={"jobs": detail})

    def _jobs(self, target: Target) -> tuple[list[_Job], str]:
        host, jobs, unread = target.world.host, list[_Job](), ""
        argv = ("crontab", "-l") if self.user is None else ("crontab", "-l", "-u", self.user)
        try:
            ended = host.run(Command(argv, env={"LC_ALL": "C"}, timeout=self.timeout, ok_exit=(0, _NONE_FOR_USER)))
        except ToolMissing as error:
            unread = str(error)
        else:
            if ended.exit_code and not ended.stderr.startswith("no crontab for"):
                unread = ended.stderr.strip()
            jobs += _parsed(ended.stdout, "crontab", self.user)
        tables = [_SYSTEM_TABLES / name for name in host.list(_SYSTEM_TABLES) if re.fullmatch(r"[\w-]+", name)]
        for table in (_SYSTEM_TABLE, *tables):
            jobs += _parsed(host.read(table) or "", str(table), None)
        return [job for job in jobs if self.user in {None, job.user}], unread

    def _judge(self, job: _Job, now: datetime) -> Reading:
        readings = [passed(f"{job.table}: {job.schedule} {job.user}".rstrip())]
        if self.schedule is not None:
            wanted = " ".join(self.schedule.split())
            readings.append(held(f"{job.schedule} = {wanted}", _plain(job.schedule) == _plain(wanted)))
        if self.at_least_every is not None:
            gap = longest_gap(job.schedule, now)
            if gap is None:
                readings.append(unknown(f"{job.schedule} is no schedule that can be reckoned with"))
            else:
                limit = self.at_least_every
                words = f"{show_seconds(gap)} between runs ≤ {show_seconds(limit)}"
                readings.append(held(words, gap <= limit))
        told = all_of(readings)
        return Reading(told.outcome, told.seen)

    def _look_at_timer(self, target: Target, timer: str) -> Reading:
        argv = (
            "systemctl",
            "show",
            "--timestamp=unix",
            "--property=LoadState,ActiveState,LastTriggerUSec",
            "--",
            timer,
        )
        said = target.world.host.run(Command(argv, timeout=self.timeout)).stdout
        state = dict(line.split("=", 1) for line in said.splitlines() if "=" in line)
        if not state.get("ActiveState"):
            return unknown(f"systemd says nothing of {timer}")
        active = state["ActiveState"] == "active"
        readings = [held(f"{timer} is {state.get('LoadState', '')}, {state['ActiveState']}", active)]
        if self.at_least_every is not None and active:
            last = _RAN.search(state.get("LastTriggerUSec", ""))
            if not last:
                readings.append(unknown(f"{timer} did not run yet"))
            else:
                ran = datetime.strptime(last[0], "%Y-%m-%d %H:%M:%S UTC").replace(tzinfo=UTC)
                ago = (target.world.clock.now() - ran).total_seconds()
                words = f"ran {show_seconds(max(ago, 0.0))} ago ≤ {show_seconds(self.at_least_every)}"
                readings.append(held(words, ago <= self.at_least_every))
        return all_of(readings)


def longest_gap(schedule: str, now: datetime) -> float | None:
    """Return the longest time, in seconds, between two runs of a schedule that follow each other; None if unknown."""
    try:
        runs = CronSim(_plain(schedule), now)
        found = [next(runs) for _ in range(_FIRINGS)]
    except (CronSimError, StopIteration):
        return None
    gaps: list[timedelta] = [late - early for early, late in pairwise(found)]
    return max(gaps).total_seconds()


def _plain(schedule: str) -> str:
    return _NAMES.get(schedule, " ".join(schedule.split()))


def _parsed(text: str, table: str, owner: str | None) -> list[_Job]:
    """Return the jobs of a crontab; those of the system's tables name their user, after the schedule."""
    jobs = []
    for line in text.splitlines():
        words = line.strip()
        match = _ENTRY.fullmatch(words)
        if not match or words.startswith("#") or _ASSIGNMENT.match(words):
            continue
        schedule, command = " ".join(match[1].split()), match[2]
        user = owner or ""
        if table.startswith("/"):
            user, _, command = command.partition(" ")
        jobs.append(_Job(table, user, schedule, command.strip()))
    return jobs
