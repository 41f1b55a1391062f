"""What came of a run is called its result."""

from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Rename the column."""
    op.execute("ALTER TABLE workflow_runs RENAME output TO result")


def downgrade() -> None:
    """Rename it back."""
    op.execute("ALTER TABLE workflow_runs RENAME result TO output")
