"""The schema before the refactoring: 17 tables, times without a zone, JSON kept as text.

Author: F2X NeuroHub team
"""

from pathlib import Path

from alembic import op

revision = "0001_initial"
down_revision = None

TABLES = (
    "audit_logs process_data wip_items serials lots equipment product_models production_lines processes users "
    "work_orders defect_codes alerts error_logs print_logs shifts wip_process_history"
).split()


def upgrade() -> None:
    """Create all tables."""
    op.execute((Path(__file__).parents[2] / "schema.sql").read_text())


def downgrade() -> None:
    """Drop all tables, those that refer to others first."""
    for table in TABLES:
        op.execute(f"DROP TABLE {table}")
