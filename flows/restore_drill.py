"""Restore drill: the newest backup of each system, restored and compared once more."""

from __future__ import annotations

from typing import Annotated, Any

from prefect import flow
from prefect.task_runners import ThreadPoolTaskRunner
from pydantic import Field

from flows.parameters import Help, Offered, StartedBy
from tasks.drill import conclude, drill, systems_to_drill

AnySystem = Annotated[
    str, Field(max_length=100), Offered(""), Help("Which system; leave it empty for every one that has a release file.")
]
Days = Annotated[int, Field(ge=1, le=3650), Help("How many days old the newest backup may be.")]
DAY = 86400.0
RUNNER: Any = ThreadPoolTaskRunner(max_workers=2)
"""How many systems are drilled at a time: each restore takes processors and a disk."""


@flow(name="restore-drill", flow_run_name="restore drill {system}", task_runner=RUNNER)
async def restore_drill(system: AnySystem = "", newest_within: Days = 8, started_by: StartedBy = "") -> str:
    """Prove the newest backups again, and fail where one is missing, too old, or does not restore to what it was."""
    drills = [drill.submit(one, newest_within * DAY, started_by) for one in systems_to_drill(system)]
    return conclude([one.result() for one in drills])
