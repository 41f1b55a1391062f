"""Backup: production's data, proven by making a copy from it and comparing every table."""

from __future__ import annotations

from prefect import flow

from flows.parameters import ReleaseId, StartedBy, System, Version
from tasks.backup import compare_copy, reckon_disk, restore_copy, retire_old_backups, scratch_cleared, take_backup
from tasks.driving import operation


@flow(name="backup", flow_run_name="{system} {version} · backup")
async def backup(system: System, version: Version, started_by: StartedBy = "", release: ReleaseId = "") -> str:
    """Back production up, make a scratch copy from that, compare every table, and return where the backup is."""
    with (
        operation("backup", system, version, release, started_by=started_by) as claim,
        scratch_cleared(claim, unless=release),
    ):
        reckon_disk(claim)
        location = take_backup(claim)
        restore_copy(claim, location)
        compare_copy(claim, location)
        retire_old_backups(claim)
        return location
