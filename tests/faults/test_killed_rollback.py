"""An automatic rollback whose process is killed in its midst: golive goes on with it, as with the same rollback."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from deployments.keeper import Keeper
from tasks.abandoned import left_behind
from tasks.adapters.host import LocalHost
from tasks.domain.errors import SteppedAside
from tasks.domain.ports import Command, RunningServer
from tasks.domain.release import State
from tasks.settings import Settings
from tests.flows import SmallSystem, a_system
from tests.nursery import Nursery
from tests.systems import run
from tests.watched import NO_PREFECT, alerts_of, deploy, live_under_watch, moves_of, put_under_watch

WHY = "down: for 11m"
DEAD = "elsewhere:1:x"
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def system(pg_server: RunningServer) -> Iterator[SmallSystem]:
    """A small system that v1 serves, and serves again after each test."""
    with a_system(pg_server) as system:
        deploy(system)
        yield system


def killed(nursery: Nursery, release: str) -> None:
    """Let a process roll a release back because a trigger fired, and kill it after its next step that is new."""
    assert nursery.run("rollback", ["rollback"], system="shop", reason=WHY, automatic=True, release=release)


def test_it_is_finished_by_the_next_look_without_a_person_and_exactly_once(
    system: SmallSystem, nursery: Nursery
) -> None:
    release = live_under_watch(system, "v2")
    killed(nursery, release)
    assert system.serving() != "v1"
    assert not nursery.run("keep_guard", [])
    assert system.serving() == "v1"
    assert not nursery.run("monitor", [])
    assert moves_of(system, release).count(State.ROLLING_BACK) == 1
    assert moves_of(system, release)[-1] == State.ROLLED_BACK
    assert system.ledger.releases.blocked("shop", "v2").reason == WHY
    [told] = [text for text in alerts_of(system, release) if "nobody drives this release" in text]
    assert "go on with the rollback, by itself" in told


def test_the_keeper_has_a_process_go_on_with_it_while_prefect_is_away(
    system: SmallSystem, nursery: Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    release, started = live_under_watch(system, "v7"), list[Command]()
    killed(nursery, release)

    def spawn(_host: LocalHost, command: Command, _log: Path) -> int:
        started.append(command)
        return os.getpid()

    monkeypatch.setattr(LocalHost, "spawn", spawn)
    keeper = Keeper(Settings.from_environment())
    assert f"nobody drives {release} any more" in keeper.look()
    keeper.look()
    [command] = [one for one in started if "--once" in one.argv]
    environment = {**command.secret_env, "PREFECT_API_URL": NO_PREFECT}
    said = subprocess.run(
        command.argv, cwd=ROOT, env=environment, check=True, capture_output=True, text=True, timeout=120
    )
    assert f"{release} was rolled back to v1" in said.stdout
    assert system.serving() == "v1"
    assert moves_of(system, release).count(State.ROLLING_BACK) == 1
    assert release not in keeper.look()


def test_one_that_is_killed_whoever_is_at_it_is_given_to_a_person(system: SmallSystem, nursery: Nursery) -> None:
    release = live_under_watch(system, "v3")
    killed(nursery, release)
    for flow in ("keep_guard", "monitor", "keep_guard"):
        assert nursery.run(flow, ["rollback"])
    assert len(set(nursery.killed_after)) == 4
    for flow in ("monitor", "keep_guard"):
        assert not nursery.run(flow, ["rollback"])
    assert moves_of(system, release)[-1] == State.ROLLING_BACK
    told = [text for text in alerts_of(system, release) if "nobody drives this release" in text]
    assert ["by itself" in text for text in told] == [True, True, True, False]
    assert f"golive resume {release}" in told[-1]
    assert system.rollback(release=release, reason="by a person") == "v1" == system.serving()
    assert moves_of(system, release).count(State.ROLLING_BACK) == 1


def test_a_rollback_that_a_person_began_is_left_to_that_person(system: SmallSystem) -> None:
    release, releases = put_under_watch(system, "v1", state=State.HEALTH), system.ledger.releases
    began = system.ledger.evidence.now()
    claim = releases.seize(release, State.HEALTH, State.ROLLING_BACK, DEAD, automatic_rollback_at=began)
    releases.move(claim, State.ROLLING_BACK, State.NEEDS_PERSON, note="the version before does not start")
    by_person = releases.seize(release, State.NEEDS_PERSON, State.ROLLING_BACK, DEAD, note="ann: once more")
    releases.let_go(by_person)
    assert left_behind.fn() == []
    assert f"golive resume {release}" in alerts_of(system, release)[-1]
    releases.seize(release, State.ROLLING_BACK, State.ROLLED_BACK, "the test")


def test_a_run_that_finds_another_one_at_it_or_done_is_grey_in_prefect_and_says_why(
    system: SmallSystem, prefect_server: str
) -> None:
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.sorting import FlowRunSort

    from flows.rollback import rollback

    release, releases = put_under_watch(system, "v1", state=State.HEALTH), system.ledger.releases
    claim = releases.seize(release, State.HEALTH, State.ROLLING_BACK, DEAD, note="bob: orders are lost")
    with pytest.raises(SteppedAside, match="is driven by elsewhere"):
        run(rollback("shop", "orders are lost", "ann", release=release))
    releases.move(claim, State.ROLLING_BACK, State.ROLLED_BACK)
    with pytest.raises(SteppedAside, match="is rolled_back"):
        run(rollback("shop", "orders are lost", "ann", release=release))
    assert moves_of(system, release).count(State.ROLLING_BACK) == 1
    with get_client(sync_client=True) as client:
        newest = client.read_flow_runs(sort=FlowRunSort.EXPECTED_START_TIME_DESC)
    ends = [one.state for one in newest if one.state and one.parameters.get("release") == release]
    assert [(one.type, one.name) for one in ends] == [("CANCELLED", "SteppedAside")] * 2
    assert {"is driven by" in (one.message or "") for one in ends} == {True, False}


def test_of_two_that_would_go_on_one_does(system: SmallSystem) -> None:
    from tasks.domain.errors import GoliveError
    from tasks.rollback import begin

    release, releases = put_under_watch(system, "v1", state=State.HEALTH), system.ledger.releases
    began = system.ledger.evidence.now()
    claim = releases.seize(
        release, State.HEALTH, State.ROLLING_BACK, DEAD, note=f"automatic: {WHY}", automatic_rollback_at=began
    )
    assert left_behind.fn() == [], "its process is alive"
    with pytest.raises(GoliveError, match="is rolling_back"):
        begin(release, reason=WHY, automatic=True, started_by="")
    releases.let_go(claim)
    for _ in range(2):  # whoever finds it on record goes on as well, should the one that put it there have died
        [found] = left_behind.fn()
        assert (found.release_id, found.seen, found.automatic) == (release, WHY, True)
    assert begin(release, reason=WHY, automatic=True, started_by="").epoch == claim.epoch + 1
    with pytest.raises(GoliveError, match="is rolling_back"):
        begin(release, reason=WHY, automatic=True, started_by="")
    assert left_behind.fn() == []
    releases.seize(release, State.ROLLING_BACK, State.ROLLED_BACK, "the test")
