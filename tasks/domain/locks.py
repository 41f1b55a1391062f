"""What a lock on a table blocks: PostgreSQL's table of lock conflicts, and what follows from it for an application."""

from __future__ import annotations

from enum import StrEnum

# https://www.postgresql.org/docs/current/explicit-locking.html#TABLE-LOCK-COMPATIBILITY, weakest first.
_MODES = (
    "AccessShareLock",
    "RowShareLock",
    "RowExclusiveLock",
    "ShareUpdateExclusiveLock",
    "ShareLock",
    "ShareRowExclusiveLock",
    "ExclusiveLock",
    "AccessExclusiveLock",
)
_CONFLICTS = {
    "AccessShareLock": ("AccessExclusiveLock",),
    "RowShareLock": ("ExclusiveLock", "AccessExclusiveLock"),
    "RowExclusiveLock": ("ShareLock", "ShareRowExclusiveLock", "ExclusiveLock", "AccessExclusiveLock"),
    "ShareUpdateExclusiveLock": _MODES[3:],
    "ShareLock": ("RowExclusiveLock", "ShareUpdateExclusiveLock", *_MODES[5:]),
    "ShareRowExclusiveLock": _MODES[2:],
    "ExclusiveLock": _MODES[1:],
    "AccessExclusiveLock": _MODES,
}
_BY_NAME = {mode.lower(): mode for mode in _MODES}

READ, LOCKING_READ, WRITE = "AccessShareLock", "RowShareLock", "RowExclusiveLock"
"""What SELECT takes, what SELECT … FOR UPDATE and a foreign key's check take, and what INSERT, UPDATE, DELETE take."""


class Blocks(StrEnum):
    """What a lock that the migration holds keeps others from, the worst first."""

    READS = "reads and writes"
    WRITES = "writes"
    ROWS = "writes to the rows it changed"
    DDL = "only DDL"
    UNKNOWN = "unknown"


HOLDS_UP = frozenset({Blocks.READS, Blocks.WRITES, Blocks.ROWS, Blocks.UNKNOWN})
"""What an application may wait for."""


def mode_of(name: str) -> str | None:
    """Return a lock mode as ``pg_locks`` words it, also of ``ACCESS EXCLUSIVE``; None if it is no mode of a table."""
    plain = name.lower().replace(" ", "").replace("_", "").removesuffix("lock")
    return _BY_NAME.get(f"{plain}lock")


def conflicts(held: str, wanted: str) -> bool:
    """Tell whether a lock that is held keeps another transaction from one that it wants; an unknown mode may."""
    one, other = mode_of(held), mode_of(wanted)
    return one is None or other is None or other in _CONFLICTS[one]


def blocks(mode: str) -> Blocks:
    """Return what a lock in that mode keeps others from as long as it is held.

    A transaction that writes also holds each row that it changed, though its lock on the table stops no writer.
    """
    held = mode_of(mode)
    if held is None:
        return Blocks.UNKNOWN
    if conflicts(held, READ):
        return Blocks.READS
    if conflicts(held, WRITE):
        return Blocks.WRITES
    return Blocks.ROWS if held == WRITE else Blocks.DDL


def holds_up(mode: str) -> bool:
    """Tell whether an application may have to wait for a lock in that mode, so that the time it is held counts."""
    return blocks(mode) in HOLDS_UP
