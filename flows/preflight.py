"""Preflight: everything a release rests on, looked at before production is touched."""

from __future__ import annotations

from prefect import flow

from flows.parameters import ReleaseId, StartedBy, System, Version
from tasks.checking import RUNNER, start_looks
from tasks.deploy import fetch_code
from tasks.driving import operation
from tasks.health import conclude, record_baselines
from tasks.preflight import (
    check_backup,
    check_foundations,
    check_hosts,
    check_migration,
    check_platform,
    check_ports,
    check_traffic,
    check_window,
)


@flow(name="preflight", flow_run_name="{system} {version} · preflight", task_runner=RUNNER)
async def preflight(system: System, version: Version, started_by: StartedBy = "", release: ReleaseId = "") -> None:
    """Look at the window, the tools, the database, the disk and the release's own checks; record baselines."""
    with operation("preflight", system, version, release, started_by=started_by) as claim:
        check_window(claim)
        check_hosts(claim)
        check_ports(claim)
        fetch_code(claim, "preflight")
        check_platform(claim)
        check_traffic(claim)
        foundations = check_foundations(claim)
        conclude(claim, foundations, "preflight")
        check_backup(claim)
        check_migration(claim)
        looks = start_looks(claim, "preflight")
        conclude(claim, [seen for look in looks for seen in look.result()], "preflight")
        record_baselines(claim)
