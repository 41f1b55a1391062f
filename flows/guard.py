"""Guard: the continuous look between two looks of the monitor."""

from __future__ import annotations

from prefect import flow

from flows.rollback import rollback
from tasks.guard import ask_person, stand_guard


@flow(name="guard", flow_run_name="guard")
async def guard() -> int:
    """Probe every release under watch until none is left, roll back what fires, and return how often that was."""
    rollbacks = 0
    while (fired := stand_guard()) is not None:
        if fired.automatic:
            await rollback(fired.system, fired.seen, "guard", automatic=True, release=fired.release_id)
            rollbacks += 1
        else:
            ask_person(fired)
    return rollbacks
