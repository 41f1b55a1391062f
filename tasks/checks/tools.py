"""Programs that must be installed."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from tasks.checks import Check
from tasks.domain.condition import all_of, held
from tasks.domain.errors import ToolMissing
from tasks.domain.outcome import Reading, failed, passed
from tasks.domain.target import Target


class Tools(Check):
    """Looks whether programs are installed, and PostgreSQL's own in a version that fits the server."""

    kind: Literal["tools"] = "tools"
    """Which kind of check this is."""
    programs: Annotated[tuple[str, ...], Field(examples=[["git", "docker"]])] = ()
    """Programs that must be found, by name."""
    postgresql: bool = True
    """Whether PostgreSQL's client programs must fit the server: pg_dump may not be older than it."""
    dsn: str = "{dsn}"
    """The database whose server they must fit."""

    def look(self, target: Target) -> Reading:
        """Return which programs are missing or do not fit."""
        places = {program: target.world.host.which(program) for program in self.programs}
        readings = [held(f"{program} {place or 'is not installed'}", place) for program, place in places.items()]
        detail = {program: str(place) for program, place in places.items() if place}
        if self.postgresql:
            with target.world.databases.session(target.fill(self.dsn), read_only=True) as session:
                server = session.server_version
            try:
                versions = dict(target.world.pg_tools.versions(server))
            except ToolMissing as missing:
                readings.append(failed(str(missing)))
            else:
                detail |= versions
                shown = ", ".join(f"{tool} {version}" for tool, version in versions.items())
                readings.append(passed(f"{shown} fit the server {server // 10000}"))
        return all_of(readings, detail=detail)
