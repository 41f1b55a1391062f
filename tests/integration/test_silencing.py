"""Silences of a release in a real Alertmanager: made once, ended, and no trouble to the release if it is away."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tasks.context import context_of
from tasks.domain.errors import ChecksFailed
from tasks.domain.ports import RunningServer
from tasks.domain.release import State
from tasks.ledger.releases import Claim
from tests import monitoring
from tests.flows import SmallSystem
from tests.watched import alerts_of, put_under_watch

QUIET = 'run="quiet"'


@pytest.fixture(scope="module")
def alertmanager_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with monitoring.alertmanager(tmp_path_factory.mktemp("alertmanager")) as url:
        yield url


@pytest.fixture
def system(open_directory: Path, pg_server: RunningServer, alertmanager_url: str) -> Iterator[SmallSystem]:
    system = SmallSystem.make(open_directory, pg_server)
    try:
        system.add_version("v2")
        system.write(
            {"silences": [{"url": alertmanager_url, "matchers": [QUIET, 'system=~"{system}|x"'], "for": "5m"}]}
        )
        yield system
    finally:
        system.close()


def silences_of(url: str, release: str, *states: str) -> list[Any]:
    """The silences that were made for a release."""
    found = monitoring.got(f"{url}/api/v2/silences")
    return [one for one in found if release in one["comment"] and one["status"]["state"] in states]


def active_alerts(url: str) -> int:
    query = "active=true&silenced=false&inhibited=false&filter=run%3D%22quiet%22"
    return len(monitoring.got(f"{url}/api/v2/alerts?{query}"))


def test_alerts_are_silenced_from_the_migration_until_it_is_live_or_rolled_back(
    system: SmallSystem, alertmanager_url: str
) -> None:
    """An alert is active all the time; a health check sees none, and another Alertmanager is away."""
    monitoring.posted(
        f"{alertmanager_url}/api/v2/alerts", [{"labels": {"alertname": "Slow", "run": "quiet", "system": "shop"}}]
    )
    assert active_alerts(alertmanager_url) == 1
    away = {"url": "http://127.0.0.1:1", "matchers": [QUIET]}
    check = {"kind": "alertmanager", "name": "nothing rings", "url": alertmanager_url, "matchers": [QUIET]}
    system.write({"silences": [*system.file["silences"], away], "checks.health": [check]})
    system.phase("deploy", "v1")

    assert "live and watched" in system.release("v2")
    release = system.latest().id
    (ended,) = silences_of(alertmanager_url, release, "expired")
    assert silences_of(alertmanager_url, release, "active", "pending") == []
    assert active_alerts(alertmanager_url) == 1
    done = [step for step in system.ledger.releases.steps(release) if step.phase == "silence"]
    events = [(step.name.partition(":")[0], step.event) for step in done]
    assert events == [
        ("silence alerts 1", "started"),
        ("silence alerts 1", "done"),
        ("silence alerts 2", "started"),
        ("silence alerts 2", "failed"),
        ("let alerts be heard again 1", "started"),
        ("let alerts be heard again 1", "done"),
    ]
    assert done[1].detail["silence"] == ended["id"] == done[5].detail["ended"][0]
    assert ["alerts could not be silenced" in text for text in alerts_of(system, release)] == [True]

    system.add_version("v3", fault="in_production")
    with pytest.raises(ChecksFailed):
        system.release("v3", supersede=True)
    back = system.latest()
    assert back.state == State.ROLLED_BACK
    assert len(silences_of(alertmanager_url, back.id, "expired")) == 1
    assert silences_of(alertmanager_url, back.id, "active", "pending") == []


def test_a_silence_is_made_once_whenever_the_process_was_killed_and_ended_by_whoever_drives_the_release(
    system: SmallSystem, alertmanager_url: str
) -> None:
    from tasks.silencing import end_silences, silence_alerts

    release = put_under_watch(system, state=State.MIGRATE)
    assert end_silences.fn(release) == [], "none was made"
    row = system.ledger.releases.get(release)
    claim = Claim(row.id, row.epoch, row.holder)
    ctx = context_of(claim)
    # Killed when Alertmanager had it and the ledger had not heard of it.
    system.ledger.releases.intend(claim, "silence", "silence alerts 1: …", mutates=False, detail={})
    first = ctx.file.silences[0].make(ctx.target(), f"golive release {release}, silence 1")
    for _ in range(2):
        assert len(silence_alerts.fn(claim)) == 1
    (one,) = silences_of(alertmanager_url, release, "active", "pending", "expired")
    assert one["id"] == first["silence"]
    assert {matcher["value"] for matcher in one["matchers"]} == {"quiet", "shop|x"}
    system.ledger.releases.seize(release, State.MIGRATE, State.ROLLING_BACK, "another process")
    assert end_silences.fn(release) == [], "the other process ends it"
    assert len(silences_of(alertmanager_url, release, "active")) == 1
    system.ledger.releases.take(release, row.holder, force=True)
    assert end_silences.fn(release) == [one["id"]]
    assert end_silences.fn(release) == []
    assert len(silences_of(alertmanager_url, release, "expired")) == 1
