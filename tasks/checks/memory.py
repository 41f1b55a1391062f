"""The memory of the machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from tasks.checks import Check
from tasks.domain.condition import all_of
from tasks.domain.kind import Share, Size
from tasks.domain.outcome import Outcome, Reading, judge_limit, unknown
from tasks.domain.target import Target
from tasks.domain.units import show_bytes


class Memory(Check):
    """Looks whether the machine has enough memory, and enough of it left."""

    of_machine: ClassVar[bool] = True

    advice: ClassVar[str] = (
        "find what takes it: ps -eo rss,pid,args --sort=-rss | head; the kernel says whom it has killed: dmesg | "
        "grep -i oom"
    )

    kind: Literal["memory"] = "memory"
    """Which kind of check this is."""
    total: Size | None = None
    """How much it must have."""
    available: Size | None = None
    """How much programs must still be able to get without swapping."""
    available_share: Annotated[Share | None, Field(gt=0, lt=1)] = None
    """What share of it programs must still be able to get without swapping."""
    max_swap_used: Size | None = None
    """How much may be swapped out."""

    @model_validator(mode="after")
    def _asks_something(self) -> Self:
        if not self.model_fields_set & {"total", "available", "available_share", "max_swap_used"}:
            raise ValueError("one of total, available, available_share, max_swap_used is needed")
        return self

    def look(self, target: Target) -> Reading:
        """Return the memory there is and is left; where the kernel does not tell, that is unknown."""
        text = target.world.host.read(Path("/proc/meminfo"))
        if text is None:
            return unknown("/proc/meminfo is not there")
        seen = {
            words[0].rstrip(":"): int(words[1]) * 1024 for line in text.splitlines() if len(words := line.split()) > 1
        }
        total, left = seen.get("MemTotal"), seen.get("MemAvailable")
        if total is None or left is None:
            return unknown("/proc/meminfo tells no memory")
        readings = []
        if self.total is not None:
            readings.append(_judge("memory", total, self.total, at_least=True))
        if self.available is not None:
            readings.append(_judge("available", left, self.available, at_least=True))
        if self.available_share is not None:
            limit = round(100 * self.available_share, 6)
            readings.append(judge_limit(round(100 * left / total, 1), limit, "%", "available", at_least=True))
        if self.max_swap_used is not None:
            swapped = seen.get("SwapTotal", 0) - seen.get("SwapFree", 0)
            readings.append(_judge("swapped out", swapped, self.max_swap_used, at_least=False))
        return all_of(readings, detail={"total": total, "available": left})


def _judge(what: str, seen: int, limit: int, *, at_least: bool) -> Reading:
    holds = seen >= limit if at_least else seen <= limit
    words = f"{what} {show_bytes(seen)} {'≥' if at_least else '≤'} {show_bytes(limit)}"
    return Reading(Outcome.PASSED if holds else Outcome.FAILED, words, seen, "bytes", limit)
