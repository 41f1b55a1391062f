"""Rehearse: the migration and both versions on the restored copy, and the way back that follows from it."""

from __future__ import annotations

from prefect import flow

from flows.backup import backup
from flows.parameters import ReleaseId, StartedBy, System, Version
from tasks.backup import scratch_cleared
from tasks.deploy import fetch_code
from tasks.driving import operation
from tasks.rehearse import (
    derive_way_back,
    prepare_copy,
    record_alone,
    rehearse_migration,
    rehearse_under_load,
    rehearse_versions,
    review_migration,
)


@flow(name="rehearse", flow_run_name="{system} {version} · rehearse")
async def rehearse(system: System, version: Version, started_by: StartedBy = "", release: ReleaseId = "") -> str:
    """Review the migration, run it on the copy up, down and up, run both versions there, return the proven way back.

    Started alone, it brings the version's code and takes and proves a backup first.
    """
    with (
        operation("rehearse", system, version, release, started_by=started_by) as claim,
        scratch_cleared(claim),
    ):
        if not release:
            fetch_code(claim, "rehearse")
            await backup(system, version, started_by, claim.release_id)
        prepare_copy(claim)
        review = review_migration(claim)
        under_load = rehearse_under_load(claim)
        record_alone(claim)
        migration = rehearse_migration(claim)
        versions = rehearse_versions(claim)
        plan = derive_way_back(claim, migration, versions, review=review, under_load=under_load)
        return plan.way.value
