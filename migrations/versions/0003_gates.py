"""The gates at which people sign, and the buttons that they press."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

APPEND_ONLY = ("gate_event", "click")


def upgrade() -> None:
    """Bring the ledger to this revision."""
    op.add_column("approval", sa.Column("via", sa.Text(), server_default="", nullable=False))
    op.create_table(
        "gate_event",
        sa.Column("release_id", sa.Text(), nullable=False),
        sa.Column("gate", sa.Text(), nullable=False),
        sa.Column("event", sa.Text(), nullable=False),
        sa.Column("plan_hash", sa.Text(), server_default="", nullable=False),
        sa.Column("nonce", sa.Text(), nullable=True),
        sa.Column("until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("by", sa.Text(), server_default="", nullable=False),
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.ForeignKeyConstraint(["release_id"], ["release.id"], name=op.f("fk_gate_event_release_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_gate_event")),
        sa.UniqueConstraint("nonce", name=op.f("uq_gate_event_nonce")),
    )
    op.create_index(op.f("ix_gate_event_release_id"), "gate_event", ["release_id"], unique=False)
    op.create_table(
        "click",
        sa.Column("press", sa.Text(), nullable=False),
        sa.Column("by", sa.Text(), nullable=False),
        sa.Column("act", sa.Text(), nullable=False),
        sa.Column("nonce", sa.Text(), server_default="", nullable=False),
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_click")),
        sa.UniqueConstraint("press", name=op.f("uq_click_press")),
    )
    for table in APPEND_ONLY:
        op.execute(
            f"CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION golive_append_only()"
        )


def downgrade() -> None:
    """Take the ledger back to the one before."""
    op.drop_table("click")
    op.drop_index(op.f("ix_gate_event_release_id"), table_name="gate_event")
    op.drop_table("gate_event")
    op.drop_column("approval", "via")
