"""Rollback: the previous version serves again, by the way that the rehearsal has proven."""

from __future__ import annotations

from typing import Annotated, cast

from prefect import flow
from pydantic import Field

from flows.parameters import Help, ReleaseId, StartedBy, System, Why
from tasks.acting import perform, stepped_aside
from tasks.domain.errors import SteppedAside
from tasks.driving import driving
from tasks.holding import let_go_on
from tasks.report import publish_report
from tasks.restore import ANY_LOSS
from tasks.rollback import (
    begin,
    check_previous,
    finish_rollback,
    give_to_person,
    release_to_roll_back,
    require_previous,
    roll_code_back,
    taken_back_here,
    undo_schema,
    wait_for_ousted,
)
from tasks.silencing import end_silences

AcceptLoss = Annotated[
    int,
    Field(ge=-1, le=ANY_LOSS),
    Help("How many changed rows may be lost, where a restore of the backup is the only way back; -1 accepts none."),
]
Automatic = Annotated[bool, Help("Leave it off: set where a trigger and not a person asks for it.")]
Which = Annotated[ReleaseId, Help("Leave it empty for the newest release that touched production, or give one's id.")]


@flow(name="rollback", flow_run_name="{system} ← rollback")
async def rollback(
    system: System,
    reason: Why = "",
    started_by: StartedBy = "",
    accept_loss: AcceptLoss = -1,
    automatic: Automatic = False,
    release: Which = "",
) -> str:
    """Take the schema and the code back, check the previous version, block the bad one, and return what serves."""
    row = release_to_roll_back(system, release)
    try:
        taken = begin(row.id, reason=reason, automatic=automatic, started_by=started_by)
    except SteppedAside as aside:
        return cast("str", stepped_aside(aside))  # a state of the run: its caller gets the error
    with driving(taken) as claim:
        try:
            wait_for_ousted(claim)
            let_go_on(claim)
            require_previous(claim)
            undo_schema(claim, accept_loss=accept_loss)
            roll_code_back(claim)
            check_previous(claim)
            finish_rollback(claim, reason)
        except BaseException as error:
            give_to_person(claim, error)
            raise
        finally:
            end_silences(claim.release_id)
            publish_report(claim.release_id)
    return row.previous_version or ""


async def rollback_anyway(
    system: str, reason: str = "", started_by: str = "", accept_loss: int = -1, release: str = ""
) -> str:
    """Roll back as a flow of Prefect, or without it where its server does not answer; return what serves."""
    given = {"accept_loss": accept_loss, "release": release}
    try:
        return str(await perform(rollback, system, reason, started_by, **given))
    except SteppedAside:
        # Prefect may have gone away after the last step: what was done then is not done anew.
        if not (serving := taken_back_here(system)):
            raise
        return serving
