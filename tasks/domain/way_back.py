"""Which way back a rehearsal has proven."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from tasks.domain.outcome import Outcome


class WayBack(StrEnum):
    """What a rollback does to the schema, the cheapest first."""

    KEEP = "keep"
    DOWNGRADE = "downgrade"
    RESTORE = "restore"


@dataclass(frozen=True)
class Plan:
    """The proven way back with the reason for it; ``seconds`` is what the schema's part took in rehearsal."""

    way: WayBack
    why: str
    seconds: float

    @property
    def loses_writes(self) -> bool:
        """Whether what was written since the backup is lost."""
        return self.way is WayBack.RESTORE


@dataclass(frozen=True)
class Loss:
    """What a rollback by a way would lose now; ``number`` of rows or values, None where that is not known."""

    way: WayBack
    number: int | None
    seen: str


def rows_changed(before: Mapping[str, int], now: Mapping[str, int]) -> int | None:
    """Return how many rows changed between two looks at the tables' counters, or None if they were reset meanwhile."""
    if not before or any(now.get(name, 0) < count for name, count in before.items()):
        return None
    return sum(count - before.get(name, 0) for name, count in now.items())


def choose(
    *,
    pending: Sequence[str],
    old_on_new: Outcome,
    down_exact: Outcome,
    down_seconds: float,
    restore_seconds: float,
    would_drop: str = "",
) -> Plan:
    """Choose the cheapest way back that was proven: keep, else downgrade, else restore.

    ``old_on_new`` is how the old version's checks came out on the new schema, ``down_exact`` whether down-then-compare
    was equal. ``unknown`` proves nothing. ``would_drop`` names what goes with a downgrade, as it was on the copy: exact
    there, it still loses what the new version will have written into that.
    """
    if not pending:
        return Plan(WayBack.KEEP, "the release changes no schema", 0.0)
    if old_on_new is Outcome.PASSED:
        return Plan(WayBack.KEEP, "the old version passed its checks on the new schema", 0.0)
    reason = f"the old version's checks on the new schema: {old_on_new.value}"
    if down_exact is Outcome.PASSED:
        drops = f"; it would drop {would_drop}" if would_drop else ""
        return Plan(WayBack.DOWNGRADE, f"{reason}; down and compare was exact{drops}", down_seconds)
    return Plan(WayBack.RESTORE, f"{reason}; down and compare: {down_exact.value}", restore_seconds)


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Return the names whose values differ between two fingerprints, or that only one of them has, sorted."""
    both = before.keys() & after.keys()
    return sorted(name for name in before.keys() | after.keys() if name not in both or before[name] != after[name])
