"""Images of containers."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from tasks.checks import Check
from tasks.domain.condition import all_of, held
from tasks.domain.docker import Address, Docker, is_latest
from tasks.domain.kind import Size
from tasks.domain.outcome import Reading, failed, passed
from tasks.domain.target import Target
from tasks.domain.units import show_bytes

_FORM = '{"size":{{.Size}},"id":{{json .Id}},"made":{{json .Created}},"config":{{json .Config}}}'


class Image(Check):
    """Looks whether an image is there, how large it is, and how it is made."""

    of_machine: ClassVar[bool] = True

    kind: Literal["image"] = "image"
    """Which kind of check this is."""
    image: Annotated[str, Field(min_length=1, examples=["workflow-api:{version}"])]
    """The image, by its name and version."""
    engine: Address = ""
    """The address of the Docker engine; by default that which ``docker`` uses."""
    size: Annotated[Size | None, Field(gt=0, examples=["1 GB"])] = None
    """The most that it may take."""
    latest: Literal["allow", "deny"] = "deny"
    """Whether it may be named without a version, or by the tag latest, which leaves nothing to go back to."""
    root: Literal["allow", "deny"] = "allow"
    """Whether its program may run as root."""
    labels: dict[str, str] = Field(default_factory=dict, examples=[{"org.opencontainers.image.version": "{version}"}])
    """Labels that it must have."""

    def look(self, target: Target) -> Reading:
        """Return whether the image is there and made as it must be."""
        name = target.fill(self.image)
        found = Docker(target.world.host, self.engine).inspect("image", [name], _FORM)
        if not found:
            return failed(f"there is no image {name}")
        size, config = found[0]["size"], found[0]["config"] or {}
        readings = [passed(f"{name} has {show_bytes(size)}", value=size, unit="bytes", limit=self.size)]
        if self.size is not None:
            readings = [
                Reading(held("", size <= self.size).outcome, f"{name} has {show_bytes(size)} ≤ {show_bytes(self.size)}",
                        value=size, unit="bytes", limit=self.size)
            ]  # fmt: skip
        if self.latest == "deny":
            readings.append(held(f"{name} names a version", not is_latest(name)))
        if self.root == "deny":
            user = str(config.get("User") or "root")
            readings.append(held(f"it runs as {user}", user.partition(":")[0] not in {"root", "0"}))
        labels = config.get("Labels") or {}
        for label, wanted in self.labels.items():
            value = target.fill(wanted)
            readings.append(held(f"label {label} {labels.get(label)} = {value}", labels.get(label) == value))
        return all_of(readings, detail={"id": found[0]["id"], "made": found[0]["made"]})
