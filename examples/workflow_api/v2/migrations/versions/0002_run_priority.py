"""A run has a priority."""

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the priority, and an index for what waits."""
    op.execute("ALTER TABLE workflow_runs ADD priority integer NOT NULL DEFAULT 0")
    op.execute("CREATE INDEX ix_workflow_runs_waiting ON workflow_runs (priority, created_at) WHERE status = 'queued'")


def downgrade() -> None:
    """Remove both."""
    op.execute("DROP INDEX ix_workflow_runs_waiting")
    op.execute("ALTER TABLE workflow_runs DROP priority")
