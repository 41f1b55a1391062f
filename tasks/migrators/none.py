"""No migration: the release leaves the schema as it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from tasks.domain.target import Target
from tasks.migrators import Migrated, Migrator


class NoMigration(Migrator):
    """Changes nothing in the database."""

    kind: Literal["none"] = "none"
    """No migration."""

    def require_possible(self, target: Target) -> None:
        """Refuse nothing."""

    def fingerprint(self, target: Target) -> str:  # noqa: ARG002 - there is nothing to look at
        """Return the hash of nothing to run."""
        return "none"

    def pending(self, target: Target) -> Sequence[str]:  # noqa: ARG002
        """Return nothing, since nothing is ever pending."""
        return ()

    def upgrade(self, target: Target) -> Migrated:  # noqa: ARG002
        """Do nothing."""
        return Migrated(applied=(), took=0.0)

    def can_downgrade(self, target: Target) -> bool:  # noqa: ARG002
        """Return true: what was not changed needs no way back."""
        return True

    def downgrade(self, target: Target, names: Sequence[str]) -> Migrated:  # noqa: ARG002
        """Do nothing."""
        return Migrated(applied=(), took=0.0)
