"""At most one result of each process for what is still being worked on.

Author: F2X NeuroHub team
"""

from alembic import op

revision = "0003_add_wip_unique_index"
down_revision = "0002_refactor_schema"


def upgrade() -> None:
    """Add the unique index."""
    op.execute(
        "CREATE UNIQUE INDEX idx_process_data_wip_unique ON process_data (wip_id, process_id) WHERE wip_id IS NOT NULL"
    )


def downgrade() -> None:
    """Drop the unique index; wip_id itself came with the revision before."""
    op.execute("DROP INDEX idx_process_data_wip_unique")
