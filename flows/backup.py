"""Backup: production's data, proven by making a copy from it and comparing every table."""

from __future__ import annotations

from prefect import flow

from flows.parameters import ReleaseId, StartedBy, System, Version
from tasks.backup import (
    compare_copy,
    keep_backup,
    reckon_disk,
    restore_copy,
    scratch_cleared,
    take_backup,
)
from tasks.driving import operation
from tasks.retire import retire_old_backups


@flow(name="backup", flow_run_name="{system} {version} · backup")
async def backup(system: System, version: Version, started_by: StartedBy = "", release: ReleaseId = "") -> str:
    """Back production up, make a scratch copy from that, compare every table, and return where it is kept."""
    with (
        operation("backup", system, version, release, started_by=started_by) as claim,
        scratch_cleared(claim, unless=release),
    ):
        reckon_disk(claim)
        location = take_backup(claim)
        restore_copy(claim, location)
        proof = compare_copy(claim, location)
        kept = keep_backup(claim, location, proof)
        retire_old_backups(claim)
        return kept
