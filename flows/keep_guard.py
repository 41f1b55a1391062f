"""Keep guard: between two looks of the monitor, see that the guard is alive."""

from __future__ import annotations

from prefect import flow

from tasks.guard import replace_dead_guard


@flow(name="keep-guard", flow_run_name="is the guard alive")
async def keep_guard() -> str:
    """Start a guard if none is alive and something is under watch, tell people if one has died, and say which."""
    return str(replace_dead_guard())
