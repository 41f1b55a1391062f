"""Approve: a role signs a release that waits for its go."""

from __future__ import annotations

from typing import Annotated, Literal

from prefect import flow
from pydantic import Field

from flows.parameters import Help, Reason
from flows.release import release
from tasks.release import sign, wait_until_free, waits_for

WaitingRelease = Annotated[str, Field(pattern=r"^[a-z0-9-]{1,80}$"), Help("The id of the release that waits.")]
Role = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,60}$"), Help("The role in which you sign.")]
Person = Annotated[str, Field(min_length=1, max_length=100), Help("Your name.")]
Decision = Annotated[Literal["approve", "reject"], Help("Whether production may be touched.")]


@flow(name="approve", flow_run_name="{waiting} · {decision} as {role}")
async def approve(
    waiting: WaitingRelease, role: Role, person: Person, decision: Decision = "approve", reason: Reason = ""
) -> str:
    """Put a signature on record, and go on with the release once nobody's is missing."""
    sign(waiting, role=role, person_name=person, decision=decision, reason=reason)
    row, missing = waits_for(waiting)
    if missing:
        return f"{waiting} still awaits {', '.join(missing)}"
    wait_until_free(waiting)
    return await release(row.system, row.version, resume=waiting)
