"""Switch: one feature or provider of a system goes out of service, or comes back, without a rollback of all of it."""

from __future__ import annotations

from typing import Annotated, Literal

from prefect import flow
from pydantic import Field

from flows.parameters import Help, Offered, StartedBy, System
from tasks.driving import to_its_end
from tasks.spec.offering import switches_in
from tasks.spec.switches import SWITCH_PATTERN
from tasks.switch import confirm, open_switch, turn

Name = Annotated[
    str,
    Field(pattern=SWITCH_PATTERN),
    Offered(of=switches_in, dear=True),
    Help("The switch, by its name in the system's release file; those of all systems are offered."),
]
To = Annotated[Literal["off", "on"], Help("Off takes it out of service; on brings it back.")]
Because = Annotated[str, Field(min_length=1, max_length=500), Help("Why, in a sentence; it stands on record.")]


@flow(name="switch", flow_run_name="{system} · {name} {to}")
async def switch(system: System, name: Name, reason: Because, to: To = "off", started_by: StartedBy = "") -> str:
    """Turn a switch of the version that serves, check the system, and return what holds now."""
    with to_its_end(open_switch(system, name, to, started_by=started_by, reason=reason)) as claim:
        turn(claim, name, to)
        return confirm(claim, name, to)
