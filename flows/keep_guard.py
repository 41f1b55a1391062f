"""Keep guard: between two looks of the monitor, see that the guard is alive and that no rollback was left half done."""

from __future__ import annotations

from prefect import flow

from flows.answer import answer
from tasks.abandoned import left_behind
from tasks.acting import perform
from tasks.guard import replace_dead_guard


@flow(name="keep-guard", flow_run_name="is the guard alive")
async def keep_guard() -> list[str]:
    """Start a guard if none is alive and something is under watch, go on with a rollback whose process has died.

    Return what was done; people are told of both.
    """
    guard = str(replace_dead_guard())
    return [guard, *[await answer(rollback) for rollback in left_behind()]]


async def keep_guard_anyway() -> list[str]:
    """Do so as a flow of Prefect, or without it where its server does not answer; return what was done."""
    return list(await perform(keep_guard))
