"""The checklist as it was when a release began."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Bring the ledger to this revision."""
    op.add_column("release", sa.Column("checklist_text", sa.Text(), server_default="", nullable=False))


def downgrade() -> None:
    """Take the ledger back to the one before."""
    op.drop_column("release", "checklist_text")
