"""Migrate: what was rehearsed, on production, under a lock budget."""

from __future__ import annotations

from prefect import flow

from flows.parameters import ReleaseId, StartedBy, System, Version
from tasks.clearing import wait_until_clear
from tasks.deploy import fetch_code
from tasks.driving import operation
from tasks.guard import ensure_guard
from tasks.migrate import compare_with_rehearsal, migrate_production, require_rehearsal, stop_ahead, verify_schema
from tasks.preflight import check_window
from tasks.silencing import silence_alerts


@flow(name="migrate", flow_run_name="{system} {version} · migrate")
async def migrate(system: System, version: Version, started_by: StartedBy = "", release: ReleaseId = "") -> None:
    """Apply the rehearsed migration to production and verify the schema that comes of it."""
    with operation("migrate", system, version, release, mutates=True, started_by=started_by) as claim:
        if not release:
            check_window(claim, "migrate")
        fetch_code(claim, "migrate")
        require_rehearsal(claim)
        wait_until_clear(claim)
        if release:
            silence_alerts(claim)
        stop_ahead(claim)
        run = migrate_production(claim)
        if release:
            ensure_guard()
        compare_with_rehearsal(claim, run)
        verify_schema(claim)
