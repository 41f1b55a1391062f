"""Fills a checklist in: how each row stands, from what is on record of the things that cover it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from tasks.domain.checklist import By, Cover, Covered


class Standing(StrEnum):
    """How a row stands; only the first three say that what it asks for holds, or is let go."""

    PASSED = "passed"
    SIGNED = "signed"
    WAIVED = "waived"
    FAILED = "failed"
    UNKNOWN = "unknown"
    NOT_REACHED = "not reached"
    OPEN = "open"


WORST_FIRST = (
    Standing.FAILED,
    Standing.UNKNOWN,
    Standing.OPEN,
    Standing.NOT_REACHED,
    Standing.PASSED,
    Standing.SIGNED,
    Standing.WAIVED,
)


@dataclass(frozen=True)
class Found:
    """What is on record of one thing that covers a row.

    ``standing`` is passed, signed, failed, unknown or not reached. ``uncalled`` says that it is not reached because
    nothing has called for it, as for a rollback, so that nothing is missing.
    """

    standing: Standing
    seen: str
    at: datetime | None = None
    uncalled: bool = False


@dataclass(frozen=True)
class Entry:
    """One cover of a row with what was found; ``who`` says what it is."""

    who: str
    found: Found


@dataclass(frozen=True)
class Filled:
    """A row as it stands, with what was seen and when it was seen last, failures first."""

    id: str
    phase: str
    section: str
    item: str
    nature: str
    standing: Standing
    entries: tuple[Entry, ...]
    because: str = ""
    note: str = ""

    @property
    def at(self) -> datetime | None:
        """When something was seen of it last."""
        return max((entry.found.at for entry in self.entries if entry.found.at is not None), default=None)


def fill(rows: Iterable[Covered], look_up: Callable[[Cover], Found]) -> tuple[Filled, ...]:
    """Return each row as it stands; ``look_up`` says what is on record of a thing that covers it."""
    filled = []
    for one in rows:
        entries = [Entry(said(cover), look_up(cover)) for cover in one.covers]
        entries.sort(key=lambda entry: WORST_FIRST.index(entry.found.standing))
        standing = Standing.WAIVED if one.waived else stands([entry.found for entry in entries])
        row = one.row
        filled.append(
            Filled(row.id, row.phase, row.section, row.item, row.nature, standing, tuple(entries), one.waived, one.note)
        )
    return tuple(filled)


def said(cover: Cover) -> str:
    """Return what covers a row, in words."""
    if cover.by is By.CHECK:
        return f"check “{cover.name}” ({cover.kind})"
    return f"{cover.by} {cover.name}"


def stands(found: Iterable[Found]) -> Standing:
    """Add up what was found of one row: a failure fails it, and what is missing keeps it from being ticked."""
    seen = list(found)
    if not seen:
        return Standing.OPEN
    standings = {one.standing for one in seen if not one.uncalled}
    for bad in (Standing.FAILED, Standing.UNKNOWN, Standing.NOT_REACHED):
        if bad in standings:
            return bad
    if not standings:
        return Standing.NOT_REACHED
    return next(one for one in (Standing.PASSED, Standing.SIGNED, Standing.WAIVED) if one in standings)


def tally(rows: Iterable[Filled]) -> dict[Standing, int]:
    """Return how many rows stand how."""
    number = Counter(row.standing for row in rows)
    return {standing: number[standing] for standing in Standing}


def told(rows: tuple[Filled, ...]) -> str:
    """Return in a line how the rows stand."""
    parts = ", ".join(f"{number} {standing}" for standing, number in tally(rows).items() if number)
    return f"{len(rows)} rows: {parts or 'none'}"
