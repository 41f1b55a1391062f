"""Processes that must run, or must not."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from tasks.checks import Check
from tasks.domain.condition import all_of, held, none_of, regular
from tasks.domain.errors import CommandFailed
from tasks.domain.kind import Duration, Size
from tasks.domain.outcome import Outcome, Reading, failed, judge_limit, unknown
from tasks.domain.ports import Command
from tasks.domain.target import Target
from tasks.domain.units import show_bytes, show_seconds

_COLUMNS = "pid=,ppid=,state=,etimes=,rss=,user:32=,args="
_STATES = ("LoadState", "ActiveState", "SubState")
_TICKS = 100  # of CPU time in a second, on every Linux


@dataclass(frozen=True)
class _Process:
    pid: int
    parent: int
    state: str
    age: float
    memory: int
    user: str
    line: str


class Process(Check):
    """Looks whether processes run, how many, since when, as whom, and what they use."""

    of_machine: ClassVar[bool] = True

    advice: ClassVar[str] = "read what it wrote last: golive logs SYSTEM, or journalctl -u UNIT -n 50"

    kind: Literal["process"] = "process"
    """Which kind of check this is."""
    pattern: str | None = Field(default=None, examples=["gunicorn.*shop"])
    """A regular expression that is found in the command line of each."""
    pidfile: str | None = None
    """A file that holds the number of the process."""
    unit: Annotated[str | None, Field(pattern=r"^[A-Za-z0-9:_.@\\-]+$", examples=["shop.service"])] = None
    """A unit of systemd that must be active; its main process and those that this one started are looked at."""
    at_least: Annotated[int, Field(ge=0)] = 1
    """How many must run."""
    at_most: Annotated[int | None, Field(ge=0)] = None
    """How many may run; 0 means that none must."""
    user: str | None = None
    """As whom each must run."""
    not_user: str | None = Field(default=None, examples=["root"])
    """As whom none may run."""
    min_age: Duration | None = None
    """For how long each must have run: a younger one was started anew."""
    max_age: Duration | None = None
    """For how long each may have run: an older one was not started anew by the release."""
    max_memory: Size | None = None
    """How much memory (RSS) each may hold."""
    max_total_memory: Size | None = None
    """How much memory (RSS) they may hold together; pages that they share count for each."""
    max_cpu: Annotated[float | None, Field(gt=0, examples=[80])] = None
    """How many percent of one core all of them together may use, measured over ``sample``."""
    sample: Annotated[Duration, Field(ge=0.1, le=60)] = 1.0
    """For how long CPU is measured."""
    zombies: bool = False
    """Whether children of theirs may have ended without being waited for."""

    _pattern = field_validator("pattern")(regular)

    @model_validator(mode="after")
    def _asks_something(self) -> Self:
        if sum(bool(given) for given in (self.pattern, self.pidfile, self.unit)) != 1:
            raise ValueError("one of pattern, pidfile, unit is needed")
        return self

    def look(self, target: Target) -> Reading:
        """Return what is wrong with the processes; where they cannot be listed, that is unknown."""
        everything = _listed(target, self.timeout)
        chosen = self._chosen(target, everything)
        if isinstance(chosen, Reading):
            return chosen
        what = self.pattern or self.unit or self.pidfile
        at_least = 0 if self.at_most == 0 else self.at_least
        count = len(chosen)
        readings = [judge_limit(count, at_least, "processes", str(what), at_least=True)]
        if self.at_most is not None:
            readings.append(judge_limit(count, self.at_most, "processes", str(what)))
        if chosen:
            readings += [*self._judge_each(chosen), *self._judge_sums(target, chosen)]
        if chosen and not self.zombies:
            pids = {one.pid for one in chosen}
            dead = [str(one.pid) for one in everything if one.state == "Z" and one.parent in pids]
            readings.append(none_of(dead, "is a zombie", "no zombie"))
        detail = [{"pid": one.pid, "user": one.user, "age": one.age, "rss": one.memory} for one in chosen[:50]]
        return all_of(readings, detail={"processes": detail})

    def _chosen(self, target: Target, everything: list[_Process]) -> list[_Process] | Reading:
        alive = [one for one in everything if one.state not in {"Z", "X"}]
        if self.pattern is not None:
            pattern = re.compile(self.pattern)
            return [one for one in alive if pattern.search(one.line)]
        if self.pidfile is not None:
            text = target.world.host.read(Path(target.release_dir / target.fill(self.pidfile)))
            if text is None:
                return [] if self.at_most == 0 else failed(f"{self.pidfile} is not there")
            if not text.strip().isdigit():
                return unknown(f"{self.pidfile} holds no number")
            return [one for one in alive if one.pid == int(text)]
        return self._of_unit(target, alive)

    def _of_unit(self, target: Target, alive: list[_Process]) -> list[_Process] | Reading:
        argv = ("systemctl", "show", f"--property={','.join(_STATES)},MainPID", "--", str(self.unit))
        said = target.world.host.run(Command(argv, timeout=self.timeout)).stdout
        state = dict(line.split("=", 1) for line in said.splitlines() if "=" in line)
        if not state.get("ActiveState"):
            return unknown(f"systemd says nothing of {self.unit}")
        if state["ActiveState"] != "active" and self.at_most != 0:
            return failed(f"{self.unit} is {', '.join(state.get(name, '') for name in _STATES)}")
        family = {int(state.get("MainPID") or 0)} - {0}
        while more := {one.pid for one in alive if one.parent in family} - family:
            family |= more
        return [one for one in alive if one.pid in family]

    def _judge_each(self, chosen: list[_Process]) -> list[Reading]:
        readings = []
        youngest, oldest = min(one.age for one in chosen), max(one.age for one in chosen)
        users = sorted({one.user for one in chosen})
        if self.user is not None:
            readings.append(held(f"run as {', '.join(users)} = {self.user}", users == [self.user]))
        if self.not_user is not None:
            readings.append(held(f"run as {', '.join(users)}, not {self.not_user}", self.not_user not in users))
        if self.min_age is not None:
            words = f"youngest runs for {show_seconds(youngest)} ≥ {show_seconds(self.min_age)}"
            readings.append(held(words, youngest >= self.min_age))
        if self.max_age is not None:
            words = f"oldest runs for {show_seconds(oldest)} ≤ {show_seconds(self.max_age)}"
            readings.append(held(words, oldest <= self.max_age))
        return readings

    def _judge_sums(self, target: Target, chosen: list[_Process]) -> list[Reading]:
        readings = []
        largest, total = max(one.memory for one in chosen), sum(one.memory for one in chosen)
        for what, seen, limit in (("largest", largest, self.max_memory), ("together", total, self.max_total_memory)):
            if limit is not None:
                outcome = Outcome.PASSED if seen <= limit else Outcome.FAILED
                shown = f"{what} {show_bytes(seen)} of memory ≤ {show_bytes(limit)}"
                readings.append(Reading(outcome, shown, seen, "bytes", limit))
        if self.max_cpu is not None:
            clock = target.world.clock
            began, before = clock.monotonic(), _cpu_seconds(target, chosen, self.timeout)
            clock.sleep(self.sample)
            after = _cpu_seconds(target, chosen, self.timeout)
            used = sum(after[pid] - seconds for pid, seconds in before.items() if pid in after)
            share = 100 * used / (clock.monotonic() - began)
            readings.append(judge_limit(round(share, 1), self.max_cpu, "%", "CPU"))
        return readings


def _listed(target: Target, timeout: float) -> list[_Process]:
    host = target.world.host
    said = host.run(Command(("ps", "-ww", "-eo", _COLUMNS), env={"LC_ALL": "C"}, timeout=timeout)).stdout
    found = []
    for line in said.splitlines():
        words = line.split(None, 6)
        if len(words) < 6:
            continue
        pid, parent, state, age, memory, user = words[:6]
        command = words[6] if len(words) > 6 else ""
        found.append(_Process(int(pid), int(parent), state[0], float(age), int(memory) * 1024, user, command))
    if not found:
        raise CommandFailed("no process at all is listed", where="ps")
    return [one for one in found if not one.line.startswith("ps -ww -eo")]


def _cpu_seconds(target: Target, chosen: list[_Process], timeout: float) -> dict[int, float]:
    """Return the CPU time that each process that still runs has used."""
    argv = ("cat", *(f"/proc/{one.pid}/stat" for one in chosen))
    said = target.world.host.run(Command(argv, timeout=timeout, ok_exit=(0, 1))).stdout
    # The name in brackets may hold anything; after it come the state (3), …, user and system time (14, 15).
    rows = [(line.split()[0], line.rpartition(")")[2].split()) for line in said.splitlines() if ")" in line]
    return {int(pid): (int(fields[11]) + int(fields[12])) / _TICKS for pid, fields in rows}
