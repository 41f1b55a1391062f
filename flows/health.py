"""Health: every health check against production, beside the baseline taken before the release."""

from __future__ import annotations

from prefect import flow

from flows.parameters import ReleaseId, StartedBy, System, Version
from tasks.checking import RUNNER, start_looks
from tasks.driving import operation
from tasks.health import conclude


@flow(name="health", flow_run_name="{system} {version} · health", task_runner=RUNNER)
async def health(system: System, version: Version, started_by: StartedBy = "", release: ReleaseId = "") -> None:
    """Make the health checks and what every version must pass, and require all that decide to have passed."""
    with operation("health", system, version, release, started_by=started_by) as claim:
        looks = start_looks(claim, "compatibility", "health")
        conclude(claim, [seen for look in looks for seen in look.result()], "health")
