"""What containers use."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from tasks.checks import Check
from tasks.domain.condition import all_of
from tasks.domain.docker import Address, Docker
from tasks.domain.errors import Inconclusive
from tasks.domain.kind import Share, Size
from tasks.domain.outcome import Reading, judge_limit, passed, unknown
from tasks.domain.target import Target
from tasks.domain.units import show_bytes, size_in_bytes

Usage = dict[str, dict[str, float]]


class ContainerStats(Check):
    """Measures the memory and processor time that containers use, against limits and what they used before."""

    of_machine: ClassVar[bool] = True

    kind: Literal["container_stats"] = "container_stats"
    """Which kind of check this is."""
    containers: Annotated[tuple[str, ...], Field(min_length=1, examples=[["api", "postgres"]])]
    """The names of the containers."""
    engine: Address = ""
    """The address of the Docker engine; by default that which ``docker`` uses."""
    memory: Size | None = None
    """The most memory that each may use."""
    memory_share: Annotated[Share | None, Field(gt=0)] = None
    """The most of its limit of memory, or of the machine's if it has none, that each may use."""
    cpu: Annotated[Share | None, Field(gt=0)] = None
    """The most processor time that each may use in the second that is measured; 100% is one processor."""
    grown: Annotated[Share | None, Field(ge=0)] = None
    """By how much the memory of each may have grown since the baseline, which is recorded before the release."""

    @property
    def compares(self) -> bool:
        """Whether growth is judged."""
        return self.grown is not None

    def look(self, target: Target) -> Reading:
        """Return what each uses; one that does not run is unknown."""
        used = self._used(target)
        before: Mapping[str, Any] = target.baseline.get(self.name, {}).get("containers", {})
        readings = []
        for name in map(target.fill, self.containers):
            if name not in used:
                readings.append(unknown(f"{name} does not run"))
            else:
                readings += self._judge(name, used[name], before.get(name))
        return all_of(readings, detail={"containers": used})

    def record(self, target: Target) -> Mapping[str, Any]:
        """Return what each uses while the version before serves; raises `Inconclusive` if one does not run."""
        used = self._used(target)
        absent = [name for name in map(target.fill, self.containers) if name not in used]
        if absent:
            raise Inconclusive(f"{', '.join(absent)} does not run", where=self.name)
        return {"containers": used}

    def _judge(self, name: str, used: Mapping[str, float], before: Mapping[str, float] | None) -> list[Reading]:
        readings = [passed(f"{name} uses {show_bytes(used['memory'])} and {used['cpu']:g} % of a processor")]
        if self.memory is not None:
            readings.append(judge_limit(used["memory"], self.memory, "bytes", f"{name} uses"))
        if self.memory_share is not None:
            share = round(100 * self.memory_share, 1)
            readings.append(judge_limit(used["memory_share"], share, "%", f"{name} uses of its memory"))
        if self.cpu is not None:
            readings.append(judge_limit(used["cpu"], round(100 * self.cpu, 1), "%", f"{name} uses of a processor"))
        if self.grown is not None:
            if not before:
                readings.append(unknown(f"{name}: no baseline is on record"))
            else:
                grown = round(100 * (used["memory"] / before["memory"] - 1), 1)
                readings.append(judge_limit(grown, round(100 * self.grown, 1), "%", f"memory of {name} grew by"))
        return readings

    def _used(self, target: Target) -> Usage:
        docker = Docker(target.world.host, self.engine)
        names = [target.fill(name) for name in self.containers]
        there = docker.inspect("container", names, '{"name":{{json .Name}},"running":{{.State.Running}}}')
        running = [one["name"].strip("/") for one in there if one["running"]]
        if not running:
            return {}
        told = docker.run("stats", "--no-stream", "--format", "{{json .}}", *running, timeout=self.timeout)
        return {one["Name"]: _usage(one) for one in map(json.loads, told.stdout.splitlines())}


def _usage(told: Mapping[str, str]) -> dict[str, float]:
    return {
        "memory": size_in_bytes(told["MemUsage"].partition("/")[0]),
        "memory_share": float(told["MemPerc"].rstrip("%")),
        "cpu": float(told["CPUPerc"].rstrip("%")),
    }
