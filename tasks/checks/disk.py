"""Room on a disk."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from tasks.checks import Check
from tasks.domain.condition import all_of
from tasks.domain.kind import Share, Size
from tasks.domain.outcome import Outcome, Reading, judge_limit
from tasks.domain.ports import Command
from tasks.domain.target import Target
from tasks.domain.units import show_bytes


class Disk(Check):
    """Looks whether a disk has enough room."""

    of_machine: ClassVar[bool] = True

    advice: ClassVar[str] = (
        "find what fills it: du -xh --max-depth=2 PATH | sort -h | tail; golive backups lists what backups take up"
    )

    kind: Literal["disk"] = "disk"
    """Which kind of check this is."""
    path: str = "{root}"
    """A directory on the disk; it need not be there yet."""
    free: Annotated[Size | None, Field(gt=0, examples=["5 GiB"])] = None
    """How much must be free to an ordinary user."""
    free_share: Annotated[Share | None, Field(gt=0, lt=1, examples=["20%"])] = None
    """What share of the disk must be free to an ordinary user; the directory must then be there."""

    @model_validator(mode="after")
    def _asks_something(self) -> Self:
        if self.free is None and self.free_share is None:
            raise ValueError("one of free, free_share is needed")
        return self

    def look(self, target: Target) -> Reading:
        """Return what is free against what is needed."""
        host, path = target.world.host, Path(target.fill(self.path))
        readings, free = [], host.disk_free(path)
        if self.free is not None:
            outcome = Outcome.PASSED if free >= self.free else Outcome.FAILED
            seen = f"{show_bytes(free)} free ≥ {show_bytes(self.free)}"
            readings.append(Reading(outcome, seen, value=free, unit="bytes", limit=self.free))
        if self.free_share is not None:
            said = host.run(Command(("df", "-B1", "--output=used", "--", str(path)), timeout=self.timeout)).stdout
            total = free + int(said.split()[-1])  # without what only root may use
            share = round(100 * free / total, 1) if total else None
            readings.append(judge_limit(share, round(100 * self.free_share, 6), "%", "free", at_least=True))
        return all_of(readings)
