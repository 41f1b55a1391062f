"""How a step acts: as a Prefect task retried where that can help, with its intent in the ledger before the act."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ParamSpec, TypeVar

from prefect import Task, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State as RunState
from prefect.client.schemas.objects import TaskRun

from tasks.context import Context
from tasks.domain.errors import GoliveError
from tasks.rollouts import Step

P = ParamSpec("P")
R = TypeVar("R")

RETRY_DELAYS = [1.0, 3.0, 9.0]
"""Seconds before each further try of a step."""


def worth_retrying(_task: Task[..., Any], _run: TaskRun, state: RunState) -> bool:
    """Tell whether another try can help: a lost connection, a lock, a 5xx can pass; a failed check cannot."""
    try:
        state.result()
    except GoliveError as error:
        return error.retryable
    except Exception:  # noqa: BLE001 - an error that golive does not know is not repeated blindly
        return False
    return False


def act(function: Callable[P, R]) -> Task[P, R]:
    """Make a step of a function: a Prefect task, never answered from a cache, retried where its error says so."""
    return _task(function, len(RETRY_DELAYS))


def act_once(function: Callable[P, R]) -> Task[P, R]:
    """Make a step that Prefect does not retry, because what it calls keeps to a budget of tries of its own."""
    return _task(function, 0)


def _task(function: Callable[P, R], retries: int) -> Task[P, R]:
    return task(
        retries=retries,
        retry_delay_seconds=RETRY_DELAYS,
        retry_condition_fn=worth_retrying,
        cache_policy=NO_CACHE,
        persist_result=False,
    )(function)


def do(ctx: Context, phase: str, steps: Sequence[Step]) -> list[Mapping[str, Any]]:
    """Do steps in order, "started" in the ledger before each and its end after it, and return their evidence."""
    return [do_one(ctx, phase, step) for step in steps]


def do_one(ctx: Context, phase: str, step: Step) -> Mapping[str, Any]:
    """Do one step, its intent on record before it.

    Raises what the step raises, after putting it on record, and `Fenced` before doing anything if another process has
    taken the release over.
    """
    releases, clock = ctx.ledger.releases, ctx.world.clock
    number = releases.intend(ctx.claim, phase, step.name, mutates=step.mutates, detail={})
    began = clock.monotonic()
    try:
        detail = dict(step.act())
    except BaseException as error:
        shown = ctx.world.secrets.mask(str(error) or type(error).__name__)
        releases.report(
            ctx.claim,
            phase,
            step.name,
            number,
            event="failed",
            took=clock.monotonic() - began,
            detail={"error": type(error).__name__, "seen": shown},
        )
        raise
    releases.report(ctx.claim, phase, step.name, number, event="done", took=clock.monotonic() - began, detail=detail)
    return detail
