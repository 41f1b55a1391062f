"""What the clients' own requests came to, beside the guard's probes."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Bring the ledger to this revision."""
    op.add_column("probe", sa.Column("asked", sa.BigInteger()))
    op.add_column("probe", sa.Column("failed", sa.BigInteger()))
    op.add_column("probe", sa.Column("counted", sa.Float()))


def downgrade() -> None:
    """Take the ledger back to the one before."""
    for name in ("counted", "failed", "asked"):
        op.drop_column("probe", name)
