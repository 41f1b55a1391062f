"""Announce: people are told at once that a release begins at a moment, and then it begins."""

from __future__ import annotations

from datetime import UTC
from typing import Annotated

from prefect import flow
from pydantic import AwareDatetime

from flows.parameters import Help, Reason, StartedBy, System, Version
from tasks.scheduling import announce_release

At = Annotated[
    AwareDatetime,
    Help("When it begins: within the change window, and as far ahead as window.notice of the release file asks."),
]


@flow(name="announce", flow_run_name="{system} {version} announced")
async def announce(system: System, version: Version, at: At, reason: Reason = "", started_by: StartedBy = "") -> str:
    """Put the announcement on record, tell people, let Prefect start the release at its time, and say so."""
    return announce_release(system, version, at.astimezone(UTC), reason=reason, started_by=started_by)
