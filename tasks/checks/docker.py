"""A Docker engine and its machine."""

from __future__ import annotations

import json
from typing import Annotated, ClassVar, Literal

from packaging.version import InvalidVersion, Version
from pydantic import Field, field_validator

from tasks.checks import Check
from tasks.domain import docker
from tasks.domain.condition import all_of, held
from tasks.domain.docker import Address
from tasks.domain.errors import ToolMissing, Unreachable
from tasks.domain.kind import Size
from tasks.domain.outcome import Reading, failed, judge_limit, passed, unknown
from tasks.domain.target import Target


class Docker(Check):
    """Looks whether Docker's engine answers, of which version it is, and what its machine has; and Compose."""

    of_machine: ClassVar[bool] = True

    kind: Literal["docker"] = "docker"
    """Which kind of check this is."""
    engine: Address = ""
    """The address of the Docker engine; by default that which ``docker`` uses."""
    at_least: Annotated[str | None, Field(examples=["24.0"])] = None
    """The oldest version of the engine that will do."""
    cpus: Annotated[int | None, Field(ge=1)] = None
    """The least number of processors of its machine."""
    memory: Annotated[Size | None, Field(gt=0)] = None
    """The least memory of its machine."""
    compose: Literal["v1", "v2", "any"] | None = None
    """Which generation of Compose must be installed."""

    @field_validator("at_least")
    @classmethod
    def _version(cls, value: str | None) -> str | None:
        if value is not None and _version(value) is None:
            raise ValueError(f"{value!r} is not a version")
        return value

    def look(self, target: Target) -> Reading:
        """Return whether the engine answers and its machine has what is needed."""
        engine = docker.Docker(target.world.host, self.engine)
        try:
            engine.require()
        except ToolMissing as error:
            return failed(error.seen)
        except Unreachable as error:
            away = self.engine.startswith(("tcp://", "ssh://"))
            return unknown(error.seen) if away else failed(error.seen)
        told = json.loads(engine.run("info", "--format", "{{json .}}").stdout)
        readings = [passed(f"engine {told['ServerVersion']} answers")]
        if self.at_least is not None:
            seen, least = _version(told["ServerVersion"]), Version(self.at_least)
            what = f"engine {told['ServerVersion']} ≥ {self.at_least}"
            readings.append(unknown(what) if seen is None else held(what, seen >= least))
        if self.cpus is not None:
            readings.append(judge_limit(told["NCPU"], self.cpus, "", "processors:", at_least=True))
        if self.memory is not None:
            readings.append(judge_limit(told["MemTotal"], self.memory, "bytes", "memory:", at_least=True))
        if self.compose is not None:
            try:
                words = engine.compose(None if self.compose == "any" else self.compose)
                readings.append(passed(f"{' '.join(words)} is installed"))
            except ToolMissing as error:
                readings.append(failed(error.seen))
        detail = {name: told.get(name) for name in ("ServerVersion", "NCPU", "MemTotal", "Driver", "DockerRootDir")}
        return all_of(readings, detail=detail)


def _version(text: str) -> Version | None:
    """Return a version without what a distribution adds to it, as in 20.10.24+dfsg1."""
    try:
        return Version(text.partition("+")[0].partition("-")[0])
    except InvalidVersion:
        return None
