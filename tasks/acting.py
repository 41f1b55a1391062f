"""How a step acts: as a Prefect task retried where that can help, with its intent in the ledger before the act."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar, copy_context
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, ParamSpec, TypeVar, cast

from prefect import Flow, Task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State as RunState
from prefect.client.schemas.objects import TaskRun
from prefect.exceptions import PrefectHTTPStatusError
from prefect.settings import PREFECT_API_URL
from prefect.states import Cancelled

from tasks.adapters.interrupts import stop_if_interrupted
from tasks.context import Context, world
from tasks.domain.errors import GoliveError, SteppedAside
from tasks.domain.units import show_seconds
from tasks.ledger.releases import Claim
from tasks.rollouts import Step

P = ParamSpec("P")
R = TypeVar("R")

LOG = logging.getLogger("golive")
"""What stands in the log of a Prefect run: each step and each check, with what came of it."""


def log_to_run() -> logging.Logger:
    """Return the log of the Prefect run, for which alone it is: the console and loggers of others stay as they are."""
    LOG.setLevel(logging.INFO)
    LOG.propagate = False
    return LOG


@dataclass(frozen=True)
class Did:
    """What a line of `LOG` tells of a step, as its attribute ``did``; ``took`` is in seconds."""

    phase: str
    step: str
    event: Literal["started", "done", "failed"]
    took: float = 0.0


MOST_TASKS = 40
"""Looks beyond that number share Prefect tasks, because every task leaves its mark on Prefect's server."""
AT_ONCE = 8
"""How many steps of one flow that do not wait for each other run at the same time; each may make many checks."""

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


class _Act(Task[P, R]):
    """A step as a Prefect task, which within `perform` does without Prefect where that does not answer."""

    def __call__(self, *args: Any, **given: Any) -> Any:
        """Run the step and return its result, unless a person has interrupted the release that it would act on."""
        # What only tells, guards or reports goes on: it is done when a release has ended too.
        if args and isinstance(args[0], Claim):
            stop_if_interrupted()
        if not _ALONE.get():
            return super().__call__(*args, **given)
        return retried(self, *args, **given)

    def submit(self, *args: Any, **given: Any) -> Any:
        """Start the step beside what runs, and return a future of its result."""
        if not _ALONE.get():
            return super().submit(*args, **given)
        return _beside().submit(copy_context().run, self, *args, **given)


def retried(task: Task[P, R], *args: P.args, **given: P.kwargs) -> R:
    """Do a step within another one, or without Prefect: tried again as often as Prefect would, where that can help."""
    do: Callable[P, R] = task.fn
    for pause in RETRY_DELAYS[: task.retries]:
        try:
            return do(*args, **given)
        except GoliveError as error:
            if not error.retryable:
                raise
        world().clock.sleep(pause)
    return do(*args, **given)


def shared_out(names: Sequence[str]) -> list[tuple[str, Sequence[str]]]:
    """Return what each of at most `MOST_TASKS` Prefect tasks is called, and which of these names it sees to."""
    size = -(-len(names) // MOST_TASKS) or 1
    shares = [names[at : at + size] for at in range(0, len(names), size)]
    return [(called(one), one) for one in shares]


def called(names: Sequence[str]) -> str:
    """Return what a Prefect task is called that sees to these, one after the other."""
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"


@cache
def _beside() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(AT_ONCE, thread_name_prefix="step")


def act(function: Callable[P, R]) -> Task[P, R]:
    """Make a step of a function: a Prefect task, never answered from a cache, retried where its error says so."""
    return _act(function, len(RETRY_DELAYS))


def act_once(function: Callable[P, R]) -> Task[P, R]:
    """Make a step that Prefect does not retry, because what it calls keeps to a budget of tries of its own."""
    return _act(function, 0)


def _act(function: Callable[P, R], retries: int) -> Task[P, R]:
    return _Act(
        function,
        task_run_name=function.__name__.replace("_", " "),
        retries=retries,
        retry_delay_seconds=RETRY_DELAYS,
        retry_condition_fn=worth_retrying,
        cache_policy=NO_CACHE,
        persist_result=False,
    )


_ALONE: ContextVar[bool] = ContextVar("without Prefect", default=False)
_ANSWER_WITHIN = 3.0


async def perform(flow: Flow[..., Any], *args: Any, **given: Any) -> Any:
    """Run a flow, and where Prefect's server does not do its part its function alone: what must happen may not wait.

    The ledger, not Prefect, says what was done already, so beginning anew after Prefect went away does nothing twice.
    """
    if prefect_answers():
        try:
            return await flow(*args, **given)
        except GoliveError:
            raise
        except Exception as error:
            if prefect_answers() and not _is_of_prefect(error):
                raise
            world().progress(f"Prefect went away: {type(error).__name__}; {flow.name} goes on without it")
    token = _ALONE.set(True)
    try:
        return await cast("Any", flow).fn(*args, **given)
    finally:
        _ALONE.reset(token)


def _is_of_prefect(error: BaseException | None) -> bool:
    """Tell whether an error is of Prefect's API, which without its Redis says that it is well and takes no change.

    It may also be too slow for its own client, the only one here whose errors come out as httpx raises them.
    """
    while error is not None:
        if isinstance(error, PrefectHTTPStatusError) or type(error).__module__.partition(".")[0] == "httpx":
            return True
        error = error.__cause__ or error.__context__
    return False


def stepped_aside(error: SteppedAside) -> Any:
    """Return how a run ends that has nothing to do, grey and with the reason; whoever called it gets the error.

    It would be red if the error were raised, as if something had gone wrong.
    """
    if alone():
        raise error
    return Cancelled(name=type(error).__name__, message=world().secrets.mask(str(error)), data=error)


def alone() -> bool:
    """Tell whether `perform` does without Prefect here."""
    return _ALONE.get()


def prefect_answers() -> bool:
    """Tell whether Prefect's server, and the database behind it, can be used now."""
    api = PREFECT_API_URL.value()
    if not api:
        return False
    try:
        answer = world().http.request("GET", f"{api.rstrip('/')}/ready", timeout=_ANSWER_WITHIN, fresh=True)
    except GoliveError:
        return False
    return answer.status < 500


def do(ctx: Context, phase: str, steps: Sequence[Step]) -> list[Mapping[str, Any]]:
    """Do steps in order, "started" in the ledger before each and its end after it, and return their evidence."""
    return [do_one(ctx, phase, step) for step in steps]


def do_one(ctx: Context, phase: str, step: Step) -> Mapping[str, Any]:
    """Do one step, its intent on record before it.

    Raises what the step raises, after putting it on record, and `Fenced` before doing anything if another process has
    taken the release over, or a person has interrupted it.
    """
    stop_if_interrupted()
    releases, clock = ctx.ledger.releases, ctx.world.clock
    LOG.info("%s: %s", phase, step.name, extra={"did": Did(phase, step.name, "started")})
    number = releases.intend(ctx.claim, phase, step.name, mutates=step.mutates, detail={})
    began = clock.monotonic()
    try:
        detail = dict(step.act())
    except BaseException as error:
        shown = ctx.world.secrets.mask(str(error) or type(error).__name__)
        took = clock.monotonic() - began
        releases.report(
            ctx.claim,
            phase,
            step.name,
            number,
            event="failed",
            took=took,
            detail={"error": type(error).__name__, "seen": shown},
        )
        did = {"did": Did(phase, step.name, "failed", took)}
        LOG.log(logging.ERROR, "%s: %s: failed: %s", phase, step.name, shown, extra=did)  # a traceback is not masked
        raise
    took = clock.monotonic() - began
    releases.report(ctx.claim, phase, step.name, number, event="done", took=took, detail=detail)
    did = {"did": Did(phase, step.name, "done", took)}
    LOG.info("%s: %s: done in %s", phase, step.name, show_seconds(took), extra=did)
    return detail
