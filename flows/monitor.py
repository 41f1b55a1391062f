"""Monitor: the hourly look at every release under watch."""

from __future__ import annotations

from itertools import chain
from typing import Any

from prefect import flow
from prefect.task_runners import ThreadPoolTaskRunner

from flows.answer import answer
from tasks.abandoned import left_behind
from tasks.acting import AT_ONCE, perform
from tasks.digest import send_digests
from tasks.gatekeeping import keep_gates
from tasks.guard import replace_dead_guard
from tasks.metering import publish_metrics
from tasks.monitor import deliver_messages, due_releases, end_monitoring, may_monitor, start_looks
from tasks.report import publish_report

RUNNER: Any = ThreadPoolTaskRunner(AT_ONCE)


@flow(name="monitor", flow_run_name="hourly look", task_runner=RUNNER)
async def monitor() -> list[str]:
    """Look at each release that is due, answer what fires, close what is over, and see to gates, guard and the dead."""
    run = may_monitor()
    if not run:
        return ["another run is looking; this one steps aside"]
    try:
        replace_dead_guard()
        keep_gates()
        looks = start_looks(due_releases())
        told = [await answer(rollback) for rollback in left_behind()]
        for release, looked in chain.from_iterable(look.result() for look in looks):
            told.append(f"{release}: {looked.seen}")
            if looked.fired is not None:
                told.append(await answer(looked.fired))
            elif looked.reported:
                publish_report(release)
        send_digests()
        deliver_messages()
        publish_metrics()
        return told
    finally:
        end_monitoring(run)


async def monitor_anyway() -> list[str]:
    """Look as a flow of Prefect, or without it where its server does not answer; return what was seen."""
    return list(await perform(monitor))
