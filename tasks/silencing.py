"""The steps that silence alerts while production is changed, and let them be heard again; neither holds anything up."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from tasks.acting import act_once
from tasks.context import Context, context_of, holder, ledger, world
from tasks.domain.errors import GoliveError, LedgerError, Refused, Unreachable
from tasks.domain.messages import Alert
from tasks.domain.silence import Silence, comment_of
from tasks.ledger.models import Step as Begun
from tasks.ledger.releases import Claim
from tasks.settings import Settings
from tasks.telling import alert

PHASE = "silence"
"""The phase under which these steps are on record."""
MAKE, END = "silence alerts", "let alerts be heard again"
_NOT_MADE = "alerts could not be silenced"
_NOT_ENDED = "a silence could not be ended"


@act_once
def silence_alerts(claim: Claim) -> list[str]:
    """Make the silences of the release file, and return which; people are told of what cannot be made.

    One that was made by a process that was killed then is known by its comment, and not made twice.
    """
    ctx = context_of(claim)
    made = []
    for number, one in enumerate(ctx.file.silences, 1):
        with_comment = partial(_make, ctx, one, comment_of(claim.release_id, number))
        if (
            _recorded(ctx, f"{MAKE} {number}: {one.name}", with_comment, _NOT_MADE, "go on: alerts may ring meanwhile")
            is not None
        ):
            made.append(one.name)
    return made


@act_once
def end_silences(release_id: str) -> list[str]:
    """End the silences that this process's release has made, and return their ids; raises nothing.

    Whoever else drives the release by now ends them; one that cannot be ended is told, and ends by itself.
    """
    try:
        book = ledger(Settings.from_environment())
        row = book.releases.get(release_id)
        ctx = context_of(Claim(row.id, row.epoch, row.holder))
        steps = [step for step in book.releases.steps(release_id) if step.phase == PHASE]
        ended: list[str] = []
        for number, one in enumerate(ctx.file.silences, 1):
            name = f"{END} {number}: {one.name}"
            is_over = any(step.name == name and step.event == "done" for step in steps)
            if is_over or not _may_be_there(steps, f"{MAKE} {number}: {one.name}") or row.holder != holder():
                continue
            end = partial(_end, ctx, one, comment_of(release_id, number))
            found = _recorded(ctx, name, end, _NOT_ENDED, "nothing: it ends by itself")
            ended += found["ended"] if found is not None else []
    except GoliveError as error:
        world().progress(f"{release_id}: silences: {world().secrets.mask(str(error))}")
        return []
    return ended


def _may_be_there(steps: Sequence[Begun], name: str) -> bool:
    """Tell whether a silence may have been made: by any try but one of which Alertmanager cannot have heard."""
    events = [step for step in steps if step.name == name]
    unheard = [one for one in events if one.detail.get("error") == Unreachable.__name__]
    return len([one for one in events if one.event == "started"]) > len(unheard)


def _make(ctx: Context, one: Silence, comment: str) -> Mapping[str, Any]:
    return one.make(ctx.target(), comment)


def _end(ctx: Context, one: Silence, comment: str) -> Mapping[str, Any]:
    return {"ended": one.end(ctx.target(), comment)}


def _recorded(
    ctx: Context, name: str, act: Callable[[], Mapping[str, Any]], title: str, next_act: str
) -> Mapping[str, Any] | None:
    """Do a step with its intent on record, and return its evidence; None if it failed, which people are told.

    Unlike the other steps it is done for a person too who has interrupted the release, as it takes back what was made.
    """
    releases, clock = ctx.ledger.releases, ctx.world.clock
    number = releases.intend(ctx.claim, PHASE, name, mutates=False, detail={})
    began = clock.monotonic()
    report = partial(releases.report, ctx.claim, PHASE, name, number)
    try:
        detail = act()
    except (LedgerError, Refused):
        raise
    except GoliveError as error:
        seen = ctx.world.secrets.mask(str(error))
        failed = {"error": type(error).__name__, "seen": seen}
        report(event="failed", took=clock.monotonic() - began, detail=failed)
        with suppress(GoliveError):
            alert(ctx, Alert(title, seen, "an Alertmanager that answers", ctx.ledger.evidence.now(), next_act))
        return None
    report(event="done", took=clock.monotonic() - began, detail=detail)
    return detail
