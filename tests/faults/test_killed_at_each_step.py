"""A whole release that is killed at each of its steps, and each time gone on with or taken back by someone else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.context import context_of
from tasks.domain.ports import RunningServer
from tasks.domain.release import State
from tasks.ledger.releases import Claim
from tests.flows import GROW, SmallSystem
from tests.nursery import Nursery, a_nursery
from tests.services import free_port
from tests.watched import deploy, moves_of

UNDO = "ALTER TABLE item DROP COLUMN colour;\n"


def rollout_of(kind: str) -> dict[str, object]:
    quick = {"kind": kind, "drain": "0s", "ready": {"every": "20ms", "successes": 1, "within": "8s"}}
    ports = [free_port(), free_port()]
    if kind == "canary":
        stages = [{"share": "20%", "for": "100ms"}]
        return {**quick, "ports": ports, "steps": stages, "least": 10, "probe": {"every": "10ms"}, "keep_old": False}
    return {**quick, "ports": ports}


@pytest.fixture(params=["rolling", "canary"])
def system(request: pytest.FixtureRequest, open_directory: Path, pg_server: RunningServer) -> Iterator[SmallSystem]:
    """A small system of which v1 serves by a rollout over several instances; v2 has a migration on which v1 runs."""
    system = SmallSystem.make(open_directory, pg_server)
    try:
        system.write({"router": {"kind": "embedded", "listen": system.port}, "rollout": rollout_of(request.param)})
        system.add_version(
            "v2", query="SELECT id, colour FROM item LIMIT 5", up={"1_grow": GROW}, down={"1_grow": UNDO}
        )
        deploy(system)
        yield system
    finally:
        system.close()


OWN = ("deploy", "health")
"""The phases in which the kinds of rollout differ; kills in the others are in test_killed_release."""
SHARES = ["send 20% of the requests to v2", "send all requests to v2"]


def versions_up(system: SmallSystem) -> set[str]:
    """Return which versions are up in any of the rollout's places, by the platform."""
    ctx = context_of(Claim(system.latest().id, 0, "a test"))
    site = ctx.site("v2")
    found = [ctx.file.rollout.version_in(site, place) for place in ctx.file.rollout.places(site)]
    return {version for version in found if version}


def run_to_live(system: SmallSystem, nursery: Nursery, phases: tuple[str, ...]) -> str:
    """Release v2, killed after each step of some phases and resumed each time, and return the release's id."""
    killed = nursery.run("release", phases, system="shop", version="v2")
    release = str(system.latest().id)
    while killed:
        killed = nursery.run("release", phases, system="shop", version="v2", resume=release)
    return release


def run_back(system: SmallSystem, nursery: Nursery, release: str) -> None:
    """Roll a release back, killed after each step and begun anew each time."""
    while system.ledger.releases.get(release).state != State.ROLLED_BACK:
        nursery.run("rollback", ["rollback"], system="shop", release=release)


@pytest.mark.timeout(400)  # some twenty processes, one after the other
def test_killed_after_each_step_it_goes_live_once_and_comes_back_once(system: SmallSystem) -> None:
    with a_nursery(system.home) as nursery:
        kind = system.file["rollout"]["kind"]
        release = run_to_live(system, nursery, OWN)
        own = SHARES if kind == "canary" else ["replace web-2 by v2", "replace web-1 by v2"]
        assert [name for name in nursery.killed_after if name in own] == own
        moves, row = moves_of(system, release), system.ledger.releases.get(release)
        assert (row.state, row.version, row.previous_version) == (State.WATCHING, "v2", "v1")
        assert len(moves) == len(set(moves)), moves
        assert {system.serving() for _ in range(6)} == {row.version} == versions_up(system)
        nursery.forget()
        run_back(system, nursery, release)
        assert len(nursery.killed_after) > 4
        assert {system.serving() for _ in range(6)} == {row.previous_version} == versions_up(system)


@pytest.mark.timeout(400)
def test_killed_amid_its_rollout_it_is_taken_back(system: SmallSystem) -> None:
    """Half of the instances are new, or a share of the requests is at the new version."""
    with a_nursery(system.home) as nursery:
        half = {"rolling": "replace web-2 by v2", "canary": SHARES[0]}[system.file["rollout"]["kind"]]
        nursery.run("release", OWN, system="shop", version="v2")
        release = str(system.latest().id)
        while half not in nursery.killed_after:
            assert nursery.run("release", OWN, system="shop", version="v2", resume=release)
        assert versions_up(system) == {"v1", "v2"}
        run_back(system, nursery, release)
        assert {system.serving() for _ in range(6)} == {"v1"} == versions_up(system)
        assert system.ledger.releases.blocked("shop", "v2") is not None
