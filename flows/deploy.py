"""Deploy: the new version takes over by the rollout of the release file."""

from __future__ import annotations

from prefect import flow

from flows.parameters import ReleaseId, StartedBy, System, Version
from tasks.deploy import confirm_serving, fetch_code, prune_releases, roll_out, show_current
from tasks.driving import operation
from tasks.preflight import check_window


@flow(name="deploy", flow_run_name="{system} {version} · deploy")
async def deploy(system: System, version: Version, started_by: StartedBy = "", release: ReleaseId = "") -> None:
    """Bring the code, hand over to the new version, and confirm that it is the one that serves."""
    with operation("deploy", system, version, release, mutates=True, started_by=started_by) as claim:
        if not release:
            check_window(claim, "deploy")
        fetch_code(claim)
        roll_out(claim)
        confirm_serving(claim)
        show_current(claim)
        prune_releases(claim)
