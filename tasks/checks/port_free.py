"""Ports that must be free."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from tasks.checks import Check
from tasks.domain.condition import all_of, held
from tasks.domain.outcome import Reading
from tasks.domain.target import Target

Port = Annotated[int, Field(ge=1, le=65535)]


class PortFree(Check):
    """Looks whether nothing listens on ports that the release is going to use."""

    of_machine: ClassVar[bool] = True

    kind: Literal["port_free"] = "port_free"
    """Which kind of check this is."""
    ports: Annotated[tuple[Port, ...], Field(min_length=1, examples=[[8101, 8102]])]
    """The ports on 127.0.0.1."""

    def look(self, target: Target) -> Reading:
        """Return which of the ports are taken."""
        free = {port: target.world.host.port_is_free(port) for port in self.ports}
        return all_of(
            held(f"port {port} is {'free' if is_free else 'taken'}", is_free) for port, is_free in free.items()
        )
