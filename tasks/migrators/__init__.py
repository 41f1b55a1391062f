"""Migrators: what changes the database's schema. One file per kind, found by its file."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Self

from pydantic import Field, PrivateAttr

from tasks.domain.kind import Duration, Kind, Strict
from tasks.domain.ports import Clock
from tasks.domain.target import Target, Within
from tasks.migrators._fence import fence_off
from tasks.migrators._pooler import require_direct
from tasks.migrators._runner import only_runner

__all__ = ["HeldLock", "Limits", "Migrated", "Migrator", "SqlText", "fence_off", "only_runner"]


class Limits(Strict):
    """What a migration may take."""

    duration: Duration = 30.0
    """The longest that the whole migration may take."""
    statement: Duration = 0.0
    """``statement_timeout``: the longest that any one statement may take; 0 leaves only ``duration``."""
    lock: Duration = 5.0
    """The longest that any one table may be locked against the application."""
    wait: Duration = 0.5
    """The longest ``lock_timeout`` of a try: how long others may queue behind the migration while it waits. The first
    tries wait 20 ms; longer ones come only where no long transaction is in the way, or for want of anything better."""
    tries: Annotated[int, Field(ge=1, le=100)] = 40
    """How often a lock is tried for before the migration is given up."""
    clear: Duration = 30.0
    """How long production's migration waits, before it begins, for transactions older than ``lock`` that hold what it
    needs; then it is refused, with production untouched."""

    _ends: float = PrivateAttr(default=math.inf)

    @property
    def per_statement(self) -> float:
        """The seconds that one statement may take."""
        return float(min(self.statement or self.duration, self.duration))

    def left(self, clock: Clock) -> float:
        """Return the seconds until the moment at which the migration has to be over; infinite without one."""
        return self._ends - clock.monotonic()

    def until(self, moment: float) -> Self:
        """Return these limits with the moment of the monotonic clock at which the migration has to be over."""
        limits = self.model_copy()
        limits._ends = moment  # noqa: SLF001 - its own
        return limits


@dataclass(frozen=True)
class HeldLock:
    """A lock that the migration held on a table, with the seconds from the statement's start to the commit."""

    relation: str
    mode: str
    held: float


@dataclass(frozen=True)
class Migrated:
    """What a migrator did: the names of what it applied (or took back), the seconds, the locks, the tries it took."""

    applied: tuple[str, ...]
    took: float
    locks: tuple[HeldLock, ...] = ()
    tries: int = 1
    locks_exact: bool = True
    notes: tuple[str, ...] = field(default_factory=tuple)


@dataclass(frozen=True)
class SqlText:
    """SQL that a migration will run, under the name by which a person finds it."""

    name: str
    text: str
    in_transaction: bool = True


class Migrator(Kind):
    """Brings a database to the schema of a version and, where it can, back. Each act may be repeated without harm."""

    starts_version: ClassVar[bool] = False
    """Whether it migrates by starting the version itself."""

    limits: Limits = Limits()
    """What the migration may take; refused in rehearsal when exceeded."""
    may_roll_back: bool = True
    """Whether golive may take the schema back by the migrator's own way down."""
    pause: Duration = 0.0
    """How long at most the router holds requests back while production is migrated, so that they are late instead of
    failing; 0 if it shall not. The migration is stopped just before that is over, whatever its ``limits``. Only for
    a migration that is over in seconds, behind a router that can hold requests back."""
    stop: bool = False
    """Whether what serves is stopped before the schema changes, if anything is pending: for a version that could not
    run meanwhile, or that would stand in the migration's way. Only with a rollout that stops it anyway. The phase
    migrate, started alone, leaves it stopped."""

    @property
    def inside(self) -> Within | None:
        """The container within which its tool runs, where it runs within one."""
        return None

    def until(self, moment: float) -> Self:
        """Return this migrator as it gives up at a moment of the monotonic clock."""
        return self.model_copy(update={"limits": self.limits.until(moment)})

    def require_possible(self, target: Target) -> None:
        """Raise `Refused` where a migration of ``target.dsn`` could not be run within its limits; changes nothing."""
        with target.world.databases.session(target.dsn, statement_timeout=10) as session:
            require_direct(target, session)

    @abstractmethod
    def fingerprint(self, target: Target) -> str:
        """Return a hash of all that the migration would run, so that a sign-off holds for exactly that."""

    @abstractmethod
    def pending(self, target: Target) -> Sequence[str]:
        """Return the names of what is not yet applied to ``target.dsn``, in order.

        Raises `Refused` if what was applied before is no longer what the release holds.
        """

    def begun(self, target: Target) -> Sequence[str]:  # noqa: ARG002 - for those that know
        """Return the names of what is pending and yet may be applied in part, because an earlier run ended midway."""
        return ()

    def clear(self, target: Target) -> None:
        """End what a process of golive's that was killed amid a migration has left running besides its sessions."""

    @abstractmethod
    def upgrade(self, target: Target) -> Migrated:
        """Apply what is pending.

        Raises `LockNotGranted` when the lock budget is used up, `SqlFailed` or `CommandFailed` with file and line.
        """

    @abstractmethod
    def can_downgrade(self, target: Target) -> bool:
        """Tell whether there is a way down for all that is in this release."""

    @abstractmethod
    def downgrade(self, target: Target, names: Sequence[str]) -> Migrated:
        """Take back the named migrations, the last one first; those not applied are left alone."""

    def sql_of(self, target: Target, names: Sequence[str]) -> Sequence[SqlText] | None:  # noqa: ARG002
        """Return the SQL of the named migrations without running it, or None where it is not to be had."""
        return None

    def books(self) -> frozenset[str]:
        """Return the tables, with their schema, in which the migrator itself keeps what it has applied."""
        return frozenset()

    def leaves_rows_in(self) -> frozenset[str]:
        """Return the tables, with their schema, whose rows may stay that its tool added by itself in an upgrade.

        A way down that leaves no other difference than such rows is exact: no version minds them.
        """
        return frozenset()
