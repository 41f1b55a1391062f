"""The right to change production now, and the table in production by which its database knows whose turn it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

FENCE = "golive_fence"
"""The table, one row for each system, and the schema in which it lies where golive's role may make one: beside the
application's tables a migration tool would find it, and write a migration that drops it. It is golive's own, so no
comparison of schemas or contents counts it."""


@dataclass(frozen=True)
class Turn:
    """The claim of a process on a release, as the migrated database gets to know it.

    Of two, the later is the one whose release began later or, within a release, whose epoch is higher. ``require`` asks
    the ledger and raises `Fenced` once another process has taken the release over.
    """

    release: str
    began: datetime
    epoch: int
    require: Callable[[], None]
