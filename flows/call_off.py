"""Call off: a release that was announced does not begin."""

from __future__ import annotations

from typing import Annotated

from prefect import flow
from pydantic import Field

from flows.parameters import Help, StartedBy
from tasks.scheduling import call_release_off

Announcement = Annotated[
    str, Field(pattern=r"^[a-z0-9-]{1,80}$"), Help("The id of the announcement, as the messages of it give it.")
]
Because = Annotated[str, Field(min_length=1, max_length=500), Help("Why, in a sentence; people are told.")]


@flow(name="call-off", flow_run_name="{announcement} called off")
async def call_off(announcement: Announcement, reason: Because, started_by: StartedBy = "") -> str:
    """Put on record that the announced release does not begin, tell people, and take its start from Prefect."""
    return call_release_off(announcement, reason=reason, started_by=started_by)
