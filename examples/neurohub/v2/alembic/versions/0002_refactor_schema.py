"""The refactored schema: times with a zone, JSONB, wip_id, constraints, indexes, and an audit trail by triggers.

Author: F2X NeuroHub team
"""

from alembic import op

revision = "0002_refactor_schema"
down_revision = "0001_initial"

TABLES = (
    "audit_logs process_data wip_items serials lots equipment product_models production_lines processes users "
    "work_orders defect_codes alerts error_logs print_logs shifts wip_process_history"
).split()
AUDITED = ("lots", "serials", "wip_items", "process_data")
KEYS = {
    "lots": {"product_model_id": "product_models"},
    "serials": {"lot_id": "lots"},
    "wip_items": {"serial_id": "serials"},
    "process_data": {"lot_id": "lots", "serial_id": "serials", "process_id": "processes", "equipment_id": "equipment"},
}
CHECKS = {
    "data_level": "data_level IN ('LOT', 'WIP', 'SERIAL')",
    "result": "result IN ('PASS', 'FAIL', 'REWORK')",
    "wip_serial_consistency": "(data_level <> 'WIP' OR wip_id IS NOT NULL) "
    "AND (data_level <> 'SERIAL' OR serial_id IS NOT NULL)",
    "duration": "duration_seconds >= 0",
    "timestamps": "completed_at >= started_at",
}
INDEXES = {
    "wip": "(wip_id)",
    "serial_process": "(serial_id, process_id)",
    "measurements": "USING gin (measurements)",
    "defects": "USING gin (defects)",
}
AUDIT = """
CREATE FUNCTION audit_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO audit_logs (table_name, row_id, action, user_id, client_ip)
    VALUES (TG_TABLE_NAME, coalesce(NEW.id, OLD.id), TG_OP,
            nullif(current_setting('app.current_user_id', true), ''),
            nullif(current_setting('app.client_ip', true), ''));
    RETURN NULL;
END $$
"""


def _alter(table: str, *actions: str) -> None:
    op.execute(f"ALTER TABLE {table} {', '.join(actions)}")


def _times(table: str) -> list[str]:
    return ["created_at", "updated_at", *(["started_at", "completed_at"] if table == "process_data" else [])]


def _keys(table: str, actions: str) -> list[str]:
    names = [(f"{table}_{column}_fkey", column, to) for column, to in KEYS.get(table, {}).items()]
    return [f"DROP CONSTRAINT {name}" for name, _, _ in names] + [
        f"ADD CONSTRAINT {name} FOREIGN KEY ({column}) REFERENCES {to}{actions}" for name, column, to in names
    ]


def upgrade() -> None:
    """Each table is rewritten once, with all that changes about it."""
    for table in TABLES:
        actions = [f"ALTER {name} TYPE timestamptz USING {name} AT TIME ZONE 'UTC'" for name in _times(table)]
        actions[:0] = [f"ALTER {name} DROP DEFAULT" for name in ("created_at", "updated_at")]
        actions += [f"ALTER {name} SET DEFAULT CURRENT_TIMESTAMP" for name in ("created_at", "updated_at")]
        if table == "process_data":
            actions += [f"ALTER {name} TYPE jsonb USING {name}::jsonb" for name in ("measurements", "defects")]
            actions.append("ADD wip_id integer REFERENCES wip_items ON DELETE RESTRICT ON UPDATE CASCADE")
        _alter(table, *actions)
        if table in KEYS:
            _alter(table, *_keys(table, " ON DELETE RESTRICT ON UPDATE CASCADE"))
    _alter("process_data", *(f"ADD CONSTRAINT chk_process_data_{name} CHECK ({rule})" for name, rule in CHECKS.items()))
    for name, what in INDEXES.items():
        op.execute(f"CREATE INDEX idx_process_data_{name} ON process_data {what}")
    op.execute(AUDIT)
    for table in AUDITED:
        op.execute(
            f"CREATE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON {table} "
            "FOR EACH ROW EXECUTE FUNCTION audit_change()"
        )


def downgrade() -> None:
    """Take all of it back; what was written to wip_id is lost."""
    for table in AUDITED:
        op.execute(f"DROP TRIGGER audit ON {table}")
    op.execute("DROP FUNCTION audit_change()")
    for name in INDEXES:
        op.execute(f"DROP INDEX idx_process_data_{name}")
    _alter("process_data", *(f"DROP CONSTRAINT chk_process_data_{name}" for name in CHECKS), "DROP wip_id")
    for table in TABLES:
        if table in KEYS:
            _alter(table, *_keys(table, ""))
        actions = [f"ALTER {name} TYPE timestamp USING {name} AT TIME ZONE 'UTC'" for name in _times(table)]
        actions[:0] = [f"ALTER {name} DROP DEFAULT" for name in ("created_at", "updated_at")]
        actions += [f"ALTER {name} SET DEFAULT (now() AT TIME ZONE 'UTC')" for name in ("created_at", "updated_at")]
        if table == "process_data":
            actions += [f"ALTER {name} TYPE text USING {name}::text" for name in ("measurements", "defects")]
        _alter(table, *actions)
