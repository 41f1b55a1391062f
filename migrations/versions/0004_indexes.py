"""Indexes for what is asked of the whole ledger, so that it takes no longer after years than on the first day."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Bring the ledger to this revision."""
    op.create_index("ix_release_created", "release", ["created_at"])
    op.create_index("ix_release_stable", "release", ["system", "live_at"], postgresql_where=sa.text("state = 'stable'"))
    op.create_index("ix_step_phase", "step", ["phase", "id"])
    op.create_index("ix_look_drill", "look", ["id"], postgresql_where=sa.text("source = 'restore drill'"))
    op.create_index("ix_delivery_dead", "delivery", ["id"], postgresql_where=sa.text("outcome = 'dead'"))


def downgrade() -> None:
    """Take the ledger back to the one before."""
    op.drop_index("ix_delivery_dead", table_name="delivery", postgresql_where=sa.text("outcome = 'dead'"))
    op.drop_index("ix_look_drill", table_name="look", postgresql_where=sa.text("source = 'restore drill'"))
    op.drop_index("ix_step_phase", table_name="step")
    op.drop_index("ix_release_stable", table_name="release", postgresql_where=sa.text("state = 'stable'"))
    op.drop_index("ix_release_created", table_name="release")
