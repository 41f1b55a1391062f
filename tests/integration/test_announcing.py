"""Announced releases: on record, told, reminded of, called off, and required where the release file wants notice."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from tasks.adapters.postgres import Postgres
from tasks.announcing import announce, announced, call_off, require_notice
from tasks.domain.errors import Refused, WindowClosed
from tasks.domain.ports import RunningServer
from tasks.domain.release import State
from tasks.gatekeeping import see_to_gates
from tests.flows import SmallSystem, a_system
from tests.systems import run, without_prefect
from tests.waiting import end_active, messages
from tests.watched import Later, deploy, put_under_watch


@pytest.fixture(scope="module")
def made(pg_server: RunningServer) -> Iterator[SmallSystem]:
    with a_system(pg_server) as system:
        system.add_version("v2")
        with without_prefect():
            deploy(system)
        yield system


@pytest.fixture
def system(made: SmallSystem) -> Iterator[SmallSystem]:
    with made.in_environment(), without_prefect():
        made.write({"window": {"notice": "24h"}})
        yield made
        for row, _at in announced(made.ledger, made.name, "v2"):
            made.ledger.releases.seize(row.id, State.PLANNED, State.STOPPED, "the test")
        end_active(made)


def in_hours(system: SmallSystem, hours: float) -> str:
    return announce("shop", "v2", system.ledger.evidence.now() + timedelta(hours=hours), by="ann", reason="new year").id


def test_a_release_is_announced_far_enough_ahead_and_within_the_window(system: SmallSystem) -> None:
    with pytest.raises(Refused, match="at least 24 h"):
        in_hours(system, 23)
    now = system.ledger.evidence.now()
    weekday = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")[now.weekday()]
    system.write({"window": {"notice": "24h", "days": [weekday]}})
    with pytest.raises(WindowClosed, match="the change window is closed"):
        in_hours(system, 48)
    system.write({"window": {"notice": "24h"}})
    announcement = in_hours(system, 25)
    (told,) = messages(system, announcement, "root")
    assert "shop v2 begins at" in told
    assert system.ledger.releases.active("shop") is None, "an announcement holds up no other release"


def test_who_announces_a_busy_hour_is_told_of_the_quietest_and_with_what_figures(system: SmallSystem) -> None:
    from tasks.domain.counters import counted
    from tasks.ledger.record import WORKLOAD

    evidence, release = system.ledger.evidence, put_under_watch(system, state=State.PREFLIGHT)
    with Postgres().session(system.dsn) as session:
        count = counted(session, {}, {})
    now = evidence.now()
    begin, rush, total = now - timedelta(days=5), (now + timedelta(hours=30)).hour, 0
    for hour in range(5 * 24 + 1):
        at = begin + timedelta(hours=hour)
        traffic = {**count, "at": at.isoformat(), "values": {"transactions": total}}
        evidence.looked(release, WORKLOAD, "passed", {"traffic": traffic})
        from_rush = (at.hour - rush) % 24
        total += {0: 9000, 1: 9000, 23: 9000, 18: 50}.get(from_rush, 110)
    end_planned(system, release)
    announced_at = now + timedelta(hours=30)
    said = announce("shop", "v2", announced_at, by="ann", reason="new year")
    assert f"come at {announced_at:%a %Y-%m-%d %H:%M} UTC; the quietest hour in the change window is from" in said.busy
    assert "transactions an hour" in said.busy
    (told,) = messages(system, said.id, "root")
    assert told.endswith(said.busy)
    call_off(said.id, by="bob", reason="too busy")
    quiet = announce("shop", "v2", announced_at + timedelta(hours=6), by="ann", reason="new year")
    assert quiet.busy == ""


def test_people_are_reminded_once_in_the_hour_before(system: SmallSystem, later: Later) -> None:
    announcement = in_hours(system, 25)
    later(hours=23)
    see_to_gates()
    later(hours=24, minutes=30)
    for _ in range(2):
        see_to_gates()
    (reminder,) = messages(system, announcement, "reminder")
    assert "begins at" in reminder
    later(hours=50)
    see_to_gates()
    assert system.ledger.releases.get(announcement).state == State.STOPPED


def test_who_calls_it_off_is_told_and_it_does_not_begin(system: SmallSystem, later: Later) -> None:
    announcement = in_hours(system, 25)
    call_off(announcement, by="bob", reason="the vendor is not ready")
    assert "called off by bob: the vendor is not ready" in messages(system, announcement, "root_edit")[-1]
    with pytest.raises(Refused, match="is stopped"):
        call_off(announcement, by="bob", reason="once more")
    release = put_under_watch(system, state=State.PREFLIGHT)
    later(hours=25, minutes=5)
    from tasks.signing import observed

    with pytest.raises(WindowClosed, match="people were not told"):
        require_notice(observed(release))
    end_planned(system, release)


def test_a_release_begins_by_its_announcement_once_and_not_before_its_time(system: SmallSystem, later: Later) -> None:
    from tasks.signing import observed

    announcement = in_hours(system, 25)
    release = put_under_watch(system, state=State.PREFLIGHT)
    with pytest.raises(WindowClosed, match="it is announced for"):
        require_notice(observed(release))
    later(hours=25, minutes=5)
    assert require_notice(observed(release)) == announcement
    assert system.ledger.releases.get(announcement).state == State.DONE
    assert f"has begun as {release}" in messages(system, announcement, "root_edit")[-1]
    with pytest.raises(WindowClosed):
        require_notice(observed(release))
    end_planned(system, release)


def test_a_release_that_was_not_announced_changes_nothing(system: SmallSystem) -> None:
    with pytest.raises(WindowClosed, match="people were not told"):
        system.release("v2")
    row = system.latest()
    assert (row.state, row.mutation_started_at) == (State.STOPPED, None)


def test_prefect_starts_what_was_announced_by_a_form_and_not_what_was_called_off(
    system: SmallSystem, prefect_server: str
) -> None:
    from prefect.client.orchestration import get_client

    from flows.announce import announce as announce_flow
    from flows.call_off import call_off as call_off_flow
    from flows.release import release

    at = system.ledger.evidence.now() + timedelta(hours=25)
    with get_client(sync_client=True) as client:
        said = run(announce_flow("shop", "v2", at, "new year", "ann"))
        assert "Prefect did not take the start (ObjectNotFound): start it by hand at that time" in said
        run(call_off_flow(said.partition(":")[0], "once more", "bob"))
        client.create_deployment(client.create_flow(release), name="release")
        said = run(announce_flow("shop", "v2", at, "new year", "ann"))
        announcement = said.partition(":")[0]
        assert said.endswith(f"golive cancel {announcement} calls it off")
        (due,) = runs_of(client, announcement)
        assert due.state.type == "SCHEDULED"
        assert due.next_scheduled_start_time == at
        assert due.parameters == {"system": "shop", "version": "v2", "reason": "new year", "started_by": "ann"}
        assert "announced by ann" in messages(system, announcement, "root")[0]
        said = run(call_off_flow(announcement, "the vendor is not ready", "bob"))
        assert said == f"{announcement}: called off by bob: the vendor is not ready"
        assert runs_of(client, announcement) == []


def runs_of(client: Any, tag: str) -> list[Any]:
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterTags

    return list(client.read_flow_runs(flow_run_filter=FlowRunFilter(tags=FlowRunFilterTags(all_=[tag]))))


def end_planned(system: SmallSystem, release: str) -> None:
    system.ledger.releases.seize(release, State.PREFLIGHT, State.STOPPED, "the test")
