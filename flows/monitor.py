"""Monitor: the hourly look at every release under watch."""

from __future__ import annotations

from prefect import flow

from flows.rollback import rollback
from tasks.guard import ensure_guard
from tasks.monitor import due_releases, end_monitoring, look_after, may_monitor


@flow(name="monitor", flow_run_name="hourly look")
async def monitor() -> list[str]:
    """Look at every release that is due, roll back what fires, close what is over, and see that the guard lives."""
    if not may_monitor():
        return ["another run is looking; this one steps aside"]
    try:
        ensure_guard()
        looks = [(release, look_after.submit(release)) for release in due_releases()]
        told = []
        for release, look in looks:
            seen = look.result()
            told.append(f"{release}: {seen.alarm or seen.outcome}")
            if seen.alarm and seen.automatic:
                await rollback(seen.system, seen.alarm, "monitor", automatic=True, release=release)
        return told
    finally:
        end_monitoring()
