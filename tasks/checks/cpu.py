"""The processors of the machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from tasks.checks import Check
from tasks.domain.condition import all_of
from tasks.domain.kind import Duration, Share
from tasks.domain.outcome import Reading, judge_limit, unknown
from tasks.domain.target import Target

_IDLE = slice(3, 5)  # idle and waiting for disks
_TIMES = slice(0, 8)  # what guests use is in the user's time already


class Cpu(Check):
    """Looks how many processors the machine has, and how busy they are."""

    of_machine: ClassVar[bool] = True

    advice: ClassVar[str] = "find what takes it: ps -eo pcpu,pid,args --sort=-pcpu | head"

    kind: Literal["cpu"] = "cpu"
    """Which kind of check this is."""
    cores: Annotated[int | None, Field(ge=1)] = None
    """How many there must be."""
    max_busy: Annotated[Share | None, Field(gt=0, le=1)] = None
    """What share of their time they may be busy, over ``sample``."""
    sample: Annotated[Duration, Field(ge=0.1, le=60)] = 1.0
    """For how long that is measured."""
    max_load: Annotated[float | None, Field(gt=0, examples=[1.5])] = None
    """How many processes may run or wait to run for each processor, as the mean of the last five minutes."""

    @model_validator(mode="after")
    def _asks_something(self) -> Self:
        if not self.model_fields_set & {"cores", "max_busy", "max_load"}:
            raise ValueError("one of cores, max_busy, max_load is needed")
        return self

    def look(self, target: Target) -> Reading:
        """Return how many there are and how busy; where the kernel does not tell, that is unknown."""
        before, cores = _times(target)
        if not cores:
            return unknown("/proc/stat tells no processor")
        readings = []
        if self.cores is not None:
            readings.append(judge_limit(cores, self.cores, "cores", "there are", at_least=True))
        if self.max_busy is not None:
            target.world.clock.sleep(self.sample)
            after, _ = _times(target)
            passed = [late - early for early, late in zip(before, after, strict=False)]
            total = sum(passed[_TIMES])
            busy = round(100 * (total - sum(passed[_IDLE])) / total, 1) if total > 0 else None
            readings.append(judge_limit(busy, round(100 * self.max_busy, 6), "%", "busy"))
        if self.max_load is not None:
            words = (target.world.host.read(Path("/proc/loadavg")) or "").split()
            load = round(float(words[1]) / cores, 2) if len(words) > 1 else None
            readings.append(judge_limit(load, self.max_load, "for each core", "load"))
        return all_of(readings, detail={"cores": cores})


def _times(target: Target) -> tuple[list[int], int]:
    lines = (target.world.host.read(Path("/proc/stat")) or "").splitlines()
    cores = sum(line.startswith("cpu") and line[3:4].isdigit() for line in lines)
    return [int(word) for word in lines[0].split()[1:]] if cores else [], cores
