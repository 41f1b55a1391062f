"""A whole release that is killed at each of its steps, and each time gone on with or taken back by someone else."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path

import pytest

from tasks.context import context_of
from tasks.domain.errors import Refused
from tasks.domain.ports import RunningServer
from tasks.domain.release import State
from tasks.ledger.releases import Claim
from tests.flows import GROW, SmallSystem
from tests.nursery import Nursery
from tests.services import free_port
from tests.watched import moves_of

UP = {"1_grow": GROW, "2_note": "ALTER TABLE note ADD COLUMN size integer;\n"}
DOWN = {"1_grow": "ALTER TABLE item DROP COLUMN colour;\n", "2_note": "ALTER TABLE note DROP COLUMN size;\n"}


def rollout_of(kind: str, port: int) -> dict[str, object]:
    quick = {"kind": kind, "drain": "0s", "ready": {"every": "20ms", "successes": 1, "within": "8s"}}
    if kind == "recreate":
        return {**quick, "port": port}
    ports = [free_port(), free_port()]
    if kind == "canary":
        stages = [{"share": "20%", "for": "100ms"}]
        return {**quick, "ports": ports, "steps": stages, "least": 10, "probe": {"every": "10ms"}, "keep_old": False}
    return {**quick, "ports": ports}


@pytest.fixture
def system(request: pytest.FixtureRequest, open_directory: Path, pg_server: RunningServer) -> Iterator[SmallSystem]:
    """A small system of which v1 serves by a kind of rollout; v2 has two migrations on which v1 runs."""
    system = SmallSystem.make(open_directory, pg_server)
    try:
        router = {} if request.param == "recreate" else {"router": {"kind": "embedded", "listen": system.port}}
        still = [{"kind": "http", "name": "still there", "url": "{base_url}/items"}]
        system.write({**router, "rollout": rollout_of(request.param, system.port), "checks.health": still})
        system.add_version("v2", query="SELECT id, colour FROM item LIMIT 5", up=UP, down=DOWN)
        system.phase("deploy", "v1")
        yield system
    finally:
        system.close()


OWN = ("deploy", "health")
"""The phases in which the kinds of rollout differ."""
BEFORE = (
    *("to preflight", "fetch the code", "to backup", "take the backup", "to rehearse"),
    *("migrate the copy up, down and up", "to awaiting_go", "to migrate", "migrate", "to deploy", "to health"),
)
"""Where a release may be killed that has not come to those yet, or is between phases."""
OF_KIND = {
    "recreate": ["stop the old version", "start v2", "wait until v2 is ready"],
    "blue_green": ["start v2 beside what serves", "wait until v2 is ready", "switch the router to v2"],
    "rolling": ["replace web-2 by v2", "replace web-1 by v2"],
    "canary": ["send 20% of the requests to v2", "send all requests to v2"],
}
"""Steps of the kinds of rollout, in their order."""


def versions_up(system: SmallSystem) -> set[str]:
    """Return which versions are up in any of the rollout's places, by the platform."""
    ctx = context_of(Claim(system.latest().id, 0, "a test"))
    site = ctx.site("v2")
    found = [ctx.file.rollout.version_in(site, place) for place in ctx.file.rollout.places(site)]
    return {version for version in found if version}


def only(system: SmallSystem, version: str) -> None:
    """Hold that one version serves, by what clients get, and that no other is up but one that is kept to go back to."""
    kept = {"v1", "v2"} if system.file["rollout"]["kind"] == "blue_green" else {version}
    assert {system.serving() for _ in range(6)} == {version}
    assert {version} <= versions_up(system) <= kept


def run_to_live(system: SmallSystem, nursery: Nursery, at: Collection[str]) -> str:
    """Release v2, killed after each of some steps and resumed each time, and return the release's id."""
    killed = nursery.run("release", at, system="shop", version="v2")
    release = str(system.latest().id)
    while killed:
        killed = nursery.run("release", at, system="shop", version="v2", resume=release)
    return release


def run_back(system: SmallSystem, nursery: Nursery, release: str) -> None:
    """Roll a release back, killed after each step and begun anew each time."""
    while system.ledger.releases.get(release).state != State.ROLLED_BACK:
        nursery.run("rollback", ["rollback"], system="shop", release=release)


@pytest.mark.timeout(400)  # some twenty processes, one after the other
@pytest.mark.parametrize("system", sorted(OF_KIND), indirect=True)
def test_killed_after_each_step_it_goes_live_once_and_comes_back_once(system: SmallSystem, nursery: Nursery) -> None:
    kind = system.file["rollout"]["kind"]
    release = run_to_live(system, nursery, (*BEFORE, *OWN) if kind == "recreate" else OWN)
    wanted = OF_KIND[kind] + ([one for one in BEFORE if one != "migrate"] if kind == "recreate" else [])
    assert set(wanted) <= set(nursery.killed_after)  # a step such as fetching the code is made in several phases
    moves, row = moves_of(system, release), system.ledger.releases.get(release)
    assert (row.state, row.version, row.previous_version, row.holder) == (State.WATCHING, "v2", "v1", "")
    assert len(moves) == len(set(moves)), moves
    applied = [one["name"] for one in system.sql("SELECT name FROM golive_migrations ORDER BY applied_at")]
    assert [name for name in applied if "nothing" not in name] == [f"migrations/{name}_up.sql" for name in UP]
    backups = system.home / "golive" / "systems" / "shop" / "backups"
    on_record = [Path(one.location) for one in system.ledger.evidence.backups("shop")]
    assert sorted(backups.iterdir()) == sorted(on_record), "a killed process left a dump behind"
    only(system, "v2")
    nursery.forget()
    run_back(system, nursery, release)
    assert len(nursery.killed_after) > 4
    only(system, "v1")


@pytest.mark.timeout(400)
@pytest.mark.parametrize(
    ("system", "step"),
    [
        ("recreate", "migrate production"),
        ("recreate", "stop the old version"),
        ("rolling", "replace web-2 by v2"),
        ("canary", "send 20% of the requests to v2"),
    ],
    indirect=["system"],
)
def test_killed_amid_what_changes_production_it_is_taken_back(system: SmallSystem, step: str, nursery: Nursery) -> None:
    """The schema is new; or nothing runs, half of the instances are new, a share of the requests is at the new ones."""
    before = system.content()["tables"]
    up = {"stop the old version": set[str](), "migrate production": {"v1"}}
    assert nursery.run("release", [step], system="shop", version="v2")
    release = str(system.latest().id)
    assert versions_up(system) == up.get(step, {"v1", "v2"})
    if step in up:
        assert system.rollback(release=release, reason="its process died") == "v1"
    else:
        run_back(system, nursery, release)
    assert system.ledger.releases.get(release).state == State.ROLLED_BACK
    only(system, "v1")
    assert before.keys() <= system.content()["tables"].keys()
    # A migration that has not told its end does not make the version a bad one.
    assert (system.ledger.releases.blocked("shop", "v2") is None) == (step == "migrate production")
    with pytest.raises(Refused):
        system.release("v2", resume=release)
    assert system.serving() == "v1"
