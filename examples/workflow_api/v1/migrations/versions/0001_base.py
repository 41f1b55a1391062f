"""Agents, workflows, runs and the audit log."""

from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make the tables."""
    op.execute(
        "CREATE TABLE agents (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), name text NOT NULL, "
        "model text NOT NULL, created_at timestamptz NOT NULL DEFAULT clock_timestamp())"
    )
    op.execute(
        "CREATE TABLE workflows (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), name text NOT NULL, "
        "agent_id uuid NOT NULL REFERENCES agents ON DELETE CASCADE, "
        "created_at timestamptz NOT NULL DEFAULT clock_timestamp())"
    )
    op.execute(
        "CREATE TABLE workflow_runs (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), "
        "workflow_id uuid NOT NULL REFERENCES workflows ON DELETE CASCADE, input jsonb NOT NULL, output jsonb, "
        "status text NOT NULL DEFAULT 'queued' CHECK (status IN ('queued', 'running', 'completed', 'failed')), "
        "created_at timestamptz NOT NULL DEFAULT clock_timestamp(), updated_at timestamptz)"
    )
    op.execute("CREATE INDEX ix_workflows_agent ON workflows (agent_id)")
    op.execute("CREATE INDEX ix_workflow_runs_workflow ON workflow_runs (workflow_id)")
    op.execute(
        "CREATE TABLE audit_log (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, "
        "at timestamptz NOT NULL DEFAULT clock_timestamp(), who text NOT NULL, action text NOT NULL, "
        "subject text NOT NULL)"
    )


def downgrade() -> None:
    """Remove the tables."""
    op.execute("DROP TABLE audit_log, workflow_runs, workflows, agents")
