"""Which part of a ledger the machines of one pool see to, where several pools share it."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

from sqlalchemy import ColumnElement, true

from tasks.domain.errors import Refused
from tasks.ledger.models import Release

GUARD = "guard"
"""The lease of the process that guards all that is under watch."""
GUARD_START = "guard start"
"""The lease of whoever starts one."""
MONITOR = "monitor"
"""The lease of the run that looks at all that is under watch."""
_EACH_HAS_ONE = frozenset({GUARD, GUARD_START, MONITOR})


@dataclass(frozen=True)
class Part:
    """The systems that a pool sees to; by default all, as a ledger's only user does."""

    pool: str = ""
    systems: Callable[[], Collection[str]] = tuple

    def job(self, name: str) -> str:
        """Return the lease of a job, of which each pool has one of its own where only that pool can do it."""
        return f"{name}@{self.pool}" if self.pool and name in _EACH_HAS_ONE else name

    def rows(self) -> ColumnElement[bool]:
        """Return the condition that a release is of the pool's."""
        return Release.system.in_(sorted(self.systems())) if self.pool else true()

    def require(self, row: Release) -> None:
        """Raise `Refused` for a release of a system that this pool does not see to."""
        if self.pool and row.system not in self.systems():
            raise Refused(
                f"{row.id} is of {row.system}, of which this machine has no release file",
                expected=f"a system that the pool {self.pool} sees to",
                do="do it on a machine of the pool that does, which has its secrets and reaches it",
            )
