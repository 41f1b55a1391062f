"""Monitor: the hourly look at every release under watch."""

from __future__ import annotations

from prefect import flow

from flows.answer import answer
from tasks.gatekeeping import keep_gates
from tasks.guard import replace_dead_guard
from tasks.monitor import deliver_messages, due_releases, end_monitoring, look_after, may_monitor
from tasks.report import publish_report


@flow(name="monitor", flow_run_name="hourly look")
async def monitor() -> list[str]:
    """Look at every release that is due, answer what fires, close what is over, and see to gates and guard."""
    run = may_monitor()
    if not run:
        return ["another run is looking; this one steps aside"]
    try:
        replace_dead_guard()
        keep_gates()
        looks = [(release, look_after.submit(release)) for release in due_releases()]
        told = []
        for release, look in looks:
            looked = look.result()
            told.append(f"{release}: {looked.seen}")
            if looked.fired is not None:
                told.append(await answer(looked.fired))
            elif looked.reported:
                publish_report(release)
        deliver_messages()
        return told
    finally:
        end_monitoring(run)
