"""Runs golive's flows in this process, which must be connected to Prefect's API before this module is imported."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, TypeVar

from prefect.exceptions import ParameterTypeError

from deployments.ticking import ticking
from flows.announce import announce
from flows.approve import approve, follow_up
from flows.backup import backup
from flows.call_off import call_off
from flows.deploy import deploy
from flows.guard import guard_anyway
from flows.health import health
from flows.keep_guard import keep_guard_anyway
from flows.migrate import migrate
from flows.monitor import monitor
from flows.preflight import preflight
from flows.rehearse import rehearse
from flows.release import release
from flows.restore import restore
from flows.restore_drill import restore_drill
from flows.rollback import rollback_anyway
from flows.switch import switch
from tasks.adapters.interrupts import kept_interrupts
from tasks.context import ledger
from tasks.domain.errors import Refused, UserError
from tasks.domain.release import FORWARD, State
from tasks.gatekeeping import what_follows
from tasks.release import wait_until_free
from tasks.settings import Settings

__all__ = [
    "PHASES",
    "announce",
    "approve",
    "backup",
    "call_off",
    "guard_anyway",
    "keep_guard_anyway",
    "monitor",
    "release",
    "restore",
    "restore_drill",
    "resume",
    "rollback_anyway",
    "run",
    "switch",
]

R = TypeVar("R")

PHASES: dict[str, Callable[[str, str, str], Coroutine[Any, Any, object]]] = {
    "preflight": preflight,
    "backup": backup,
    "rehearse": rehearse,
    "migrate": migrate,
    "deploy": deploy,
    "health": health,
}
"""The phases that may be run alone."""


def run(flow: Coroutine[Any, Any, R], *, phases: Iterable[str] = ()) -> R:
    """Run a flow to its end, showing its steps, and return its result; what it raises comes out as it is.

    ``phases`` are those that it goes through, if it is a release. Ctrl-C lets the step under way end and no further one
    begin, and always comes out as `KeyboardInterrupt`.
    """
    try:
        with ticking(tuple(phases)), kept_interrupts():
            return asyncio.run(_awaited(flow))
    except ParameterTypeError as error:
        raise UserError(str(error), do="golive COMMAND --help tells what each argument may be") from error


async def _awaited(flow: Coroutine[Any, Any, R]) -> R:
    return await flow


def resume(release_id: str, by: str) -> str:
    """Go on with a release that a dead process left behind, its rollback, or what follows its signatures.

    Raises `Refused` if there is nothing of that.
    """
    row = ledger(Settings.from_environment()).releases.get(release_id)
    state = State(row.state)
    if state is State.ROLLING_BACK:
        return run(rollback_anyway(row.system, "resumed", by, release=row.id))
    if state is State.WATCHING and row.scope == "release":
        follows = what_follows(release_id)
        if follows.refused is not None or follows.is_closed:
            return run(follow_up(release_id))
    if row.scope != "release" or state not in _RESUMABLE:
        raise Refused(
            f"{release_id} ({row.scope}) is {state}",
            expected=f"a release that is {', '.join(_RESUMABLE)}, or rolling_back",
            do=f"look at it with: golive status {release_id}; if it touched production, to take it back: "
            f"golive rollback {row.system} --release {release_id}; if not, to end it: golive stop {release_id}",
        )
    if state is State.AWAITING_GO:
        wait_until_free(release_id)  # somebody may sign before the process that asked has let go
    return run(release(row.system, row.version, row.reason, by, resume=row.id), phases=PHASES)


_RESUMABLE = FORWARD[: FORWARD.index(State.WATCHING)]
