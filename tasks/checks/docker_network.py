"""A network of a Docker engine."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from tasks.checks import Check
from tasks.domain.condition import all_of, held
from tasks.domain.docker import Address, Docker
from tasks.domain.outcome import Reading, failed, passed
from tasks.domain.target import Target

_FORM = '{"driver":{{json .Driver}},"internal":{{.Internal}},"ipam":{{json .IPAM}},"options":{{json .Options}}}'


class DockerNetwork(Check):
    """Looks whether a network of Docker is there, and how it is made."""

    of_machine: ClassVar[bool] = True

    kind: Literal["docker_network"] = "docker_network"
    """Which kind of check this is."""
    network: Annotated[str, Field(min_length=1, examples=["ordinaut-network"])]
    """The network's name."""
    engine: Address = ""
    """The address of the Docker engine; by default that which ``docker`` uses."""
    driver: str | None = Field(default=None, examples=["bridge"])
    """The driver that it must have."""
    subnet: str | None = Field(default=None, examples=["172.20.0.0/16"])
    """A subnet that it must have."""
    internal: bool | None = None
    """Whether it must, or must not, be cut off from the outside."""
    options: dict[str, str] = Field(default_factory=dict, examples=[{"com.docker.network.bridge.enable_icc": "false"}])
    """Options of its driver that must be set so."""

    def look(self, target: Target) -> Reading:
        """Return whether the network is there and made as it must be."""
        found = Docker(target.world.host, self.engine).inspect("network", [self.network], _FORM)
        if not found:
            return failed(f"there is no network {self.network}")
        seen = found[0]
        subnets = [one.get("Subnet", "") for one in seen["ipam"].get("Config") or ()]
        options = seen["options"] or {}
        readings = [passed(f"{self.network} is there")]
        if self.driver is not None:
            readings.append(held(f"driver {seen['driver']} = {self.driver}", seen["driver"] == self.driver))
        if self.subnet is not None:
            readings.append(held(f"subnets {', '.join(subnets) or 'none'} = {self.subnet}", self.subnet in subnets))
        if self.internal is not None:
            readings.append(held(f"internal {seen['internal']} = {self.internal}", seen["internal"] is self.internal))
        for name, wanted in self.options.items():
            readings.append(held(f"option {name} {options.get(name)} = {wanted}", options.get(name) == wanted))
        return all_of(readings, detail={"driver": seen["driver"], "subnets": subnets, "options": options})
