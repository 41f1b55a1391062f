"""Guard: the continuous look between two looks of the monitor."""

from __future__ import annotations

import asyncio

from prefect import flow

from flows.answer import answer
from tasks.acting import perform
from tasks.guard import stand_guard


@flow(name="guard", flow_run_name="guard")
async def guard() -> int:
    """Probe every release under watch until none is left, answer what fires, and return how often that was."""
    return await asyncio.to_thread(stand_guard, lambda fired: asyncio.run(answer(fired)))


async def guard_anyway() -> int:
    """Guard as a flow of Prefect, or without it where its server does not answer; return how often it acted."""
    return int(await perform(guard))
