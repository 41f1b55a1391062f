"""Room on a disk."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from tasks.checks import Check
from tasks.domain.kind import Size
from tasks.domain.outcome import Outcome, Reading
from tasks.domain.target import Target
from tasks.domain.units import show_bytes


class Disk(Check):
    """Looks whether a disk has enough room."""

    kind: Literal["disk"] = "disk"
    """Which kind of check this is."""
    path: str = "{root}"
    """A directory on the disk; it need not be there yet."""
    free: Annotated[Size, Field(gt=0, examples=["5 GiB"])]
    """How much must be free to an ordinary user."""

    def look(self, target: Target) -> Reading:
        """Return the bytes free against those needed."""
        free = target.world.host.disk_free(Path(target.fill(self.path)))
        outcome = Outcome.PASSED if free >= self.free else Outcome.FAILED
        seen = f"{show_bytes(free)} free ≥ {show_bytes(self.free)}"
        return Reading(outcome, seen, value=free, unit="bytes", limit=self.free)
