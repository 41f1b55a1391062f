"""Approve: a role signs a release that waits for it, and what follows from that is done."""

from __future__ import annotations

from typing import Annotated, Literal

from prefect import flow
from pydantic import Field

from flows.answer import answer
from flows.parameters import Help, Offered, Reason
from flows.release import release
from tasks.domain.gates import GATE_PATTERN
from tasks.gatekeeping import what_follows
from tasks.monitor import look_after
from tasks.release import wait_until_free
from tasks.report import publish_report
from tasks.signing import sign
from tasks.spec.offering import roles_in

WaitingRelease = Annotated[str, Field(pattern=r"^[a-z0-9-]{1,80}$"), Help("The id of the release that waits.")]
Role = Annotated[
    str,
    Field(pattern=r"^[^\x00-\x1f]{1,60}$"),
    Offered(of=roles_in, dear=True),
    Help("The role in which you sign; those of all release files are offered."),
]
Person = Annotated[str, Field(min_length=1, max_length=100), Help("Your name.")]
Decision = Annotated[
    Literal["approve", "reject", "waive"],
    Help("Whether it may go on. To waive is to go on without this role's signature; it needs a reason, as a no does."),
]
Gate = Annotated[
    str,
    Field(pattern=GATE_PATTERN),
    Help("Leave it empty for the gate at which your role is asked; or go, live, stable, stage-1 and so on."),
]
Shown = Annotated[
    str,
    Field(pattern=r"^([0-9a-f]{12,64})?$"),
    Help("The hash of what you have looked at, as it stands there; if it is another one by now, nothing is signed."),
]


@flow(name="approve", flow_run_name="{waiting} · {decision} as {role}")
async def approve(
    waiting: WaitingRelease,
    role: Role,
    person: Person,
    decision: Decision = "approve",
    reason: Reason = "",
    gate: Gate = "",
    shown: Shown = "",
) -> str:
    """Put a signature on record, and do what follows once nobody's is missing or somebody has said no."""
    at = sign(
        waiting, role=role, person_name=person, decision=decision, reason=reason, gate=gate, shown=shown, via="form"
    )
    return await follow_up(waiting, at)


async def follow_up(waiting: str, gate: str = "") -> str:
    """Go on with a release whose signatures are complete, or answer the no that it got, and say what came of it."""
    follows = what_follows(waiting)
    if follows.refused is not None:
        return await answer(follows.refused)
    if follows.missing:
        return f"{waiting} still awaits {', '.join(follows.missing)}"
    if follows.goes_on:
        wait_until_free(waiting)
        return await release(follows.release.system, follows.release.version, resume=waiting)
    if follows.is_closed:
        looked = look_after(waiting)
        publish_report(waiting)
        return f"{waiting}: {looked.seen}" if looked.fired is None else await answer(looked.fired)
    return f"{waiting}: {gate or 'nothing'} is signed"
