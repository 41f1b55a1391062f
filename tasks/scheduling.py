"""The steps that announce a release, to people and to Prefect, which starts it at its time, and that call it off."""

from __future__ import annotations

from datetime import datetime

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterTags
from prefect.states import Scheduled

from tasks.acting import act_once
from tasks.announcing import announce, call_off
from tasks.driving import person
from tasks.settings import Settings, deployment_name
from tasks.signing import observed
from tasks.telling import courier_for

_TOLD_WITHIN = 10.0
"""Seconds that the messages of an announcement get; what is left then goes out with the monitor's next look."""


@act_once
def announce_release(system: str, version: str, at: datetime, *, reason: str, started_by: str) -> str:
    """Put on record, tell people and let Prefect know that a release begins at a moment; return that in a sentence."""
    by = person(started_by)
    announcement, busy = announce(system, version, at, by=by, reason=reason)
    courier_for(observed(announcement)).flush(_TOLD_WITHIN)
    said = f"{announcement}: {system} {version} begins at {at:%Y-%m-%d %H:%M} UTC"
    try:
        _schedule(system, version, at, reason=reason, by=by, announcement=announcement)
    except Exception as error:  # noqa: BLE001 - Prefect raises of all kinds; the announcement stands in any case
        said += f"; Prefect did not take the start ({type(error).__name__}): start it by hand at that time"
    return f"{said}{f'; {busy}' if busy else ''}; golive cancel {announcement} calls it off"


@act_once
def call_release_off(announcement: str, *, reason: str, started_by: str) -> str:
    """Put on record and tell people that an announced release does not begin, take its start from Prefect, say so."""
    said = f"{announcement}: {call_off(announcement, by=person(started_by), reason=reason)}"
    courier_for(observed(announcement)).flush(_TOLD_WITHIN)
    try:
        _unschedule(announcement)
    except Exception as error:  # noqa: BLE001 - as above
        said += f"; the run that Prefect has for it is still there ({type(error).__name__}): delete it in its UI"
    return said


def _schedule(system: str, version: str, at: datetime, *, reason: str, by: str, announcement: str) -> None:
    given = {"system": system, "version": version, "reason": reason, "started_by": by}
    with get_client(sync_client=True) as client:
        release = client.read_deployment_by_name(
            f"release/{deployment_name('release', Settings.from_environment().pool)}"
        )
        client.create_flow_run_from_deployment(
            release.id, parameters=given, state=Scheduled(scheduled_time=at), tags=[announcement]
        )


def _unschedule(announcement: str) -> None:
    with get_client(sync_client=True) as client:
        runs = client.read_flow_runs(flow_run_filter=FlowRunFilter(tags=FlowRunFilterTags(all_=[announcement])))
        for one in runs:
            client.delete_flow_run(one.id)
