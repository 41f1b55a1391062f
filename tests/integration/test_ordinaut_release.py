"""Ordinaut goes live in containers, and comes back by itself when its API can no longer be used."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tasks.domain.outcome import Outcome
from tasks.domain.release import IMAGE_FILE
from tasks.reporting.facts import gather
from tests.engines import docker
from tests.flows import wait_until
from tests.looks import F, P
from tests.standins.ordinaut import stand_in
from tests.systems import System, run
from tests.watched import guarding

pytestmark = pytest.mark.timeout(600)
SERVICES = ("api", "scheduler", "worker")


@dataclass
class Told:
    """What came of the scenario: two releases, and the images that their containers ran."""

    system: System
    engine: str
    second: str
    third: str
    images: Mapping[str, str]
    ran: Mapping[str, Mapping[str, str]]
    unusable: tuple[int, int]

    def standing(self, release_id: str) -> dict[str, str]:
        return {row.id: str(row.standing) for row in gather(self.system.ledger, release_id).checklist}


def ask(system: System, method: str, path: str, body: Any = None) -> httpx.Response:
    headers = {"Authorization": f"Bearer {os.environ['ORDINAUT_TOKEN']}"}
    url = f"{system.file['base_url']}{path}"
    return httpx.request(method, url, headers=headers, json=body, timeout=20, trust_env=False)


def containers(engine: str) -> dict[str, str]:
    """Return the image of each container that runs for the version in service."""
    names = [f"ordinaut-main-{service}" for service in SERVICES]
    told = json.loads(docker(engine, "inspect", *names))
    assert all(one["State"]["Running"] for one in told)
    assert told[0]["State"]["Health"]["Status"] == "healthy"
    return {one["Name"].strip("/"): one["Image"] for one in told}


@pytest.fixture(scope="module")
def told(pg_server: Any, prefect_server: str, docker_engine: str) -> Iterator[Told]:
    """v1 serves; v2 goes live and is looked at; v3 goes live, can no longer be used, and is taken back."""
    from flows.monitor import monitor

    with stand_in(pg_server, docker_engine) as system:
        system.write({"watch.every": "100ms", "watch.probe.every": "200ms"})
        system.deploy_unsigned("v1")
        ran = {"v1": containers(docker_engine)}
        system.release_signed("v2")
        second = system.latest().id
        ran["v2"] = containers(docker_engine)
        run(monitor())
        # What v3's fault is not found by, and v2 was looked at for, is not looked at again.
        health = [
            check for check in system.file["checks"]["health"] if check["kind"] in {"command", "load", "container"}
        ]
        down = [{"kind": "down", "for": "2s"}]
        system.write({"checks.preflight": [], "checks.health": health, "rollback.when": down})
        system.release_signed("v3", supersede=True)
        third = system.latest().id
        ran["v3"] = containers(docker_engine)
        releases = system.home / "golive" / "systems" / "ordinaut" / "releases"
        images = {one.name: (one / IMAGE_FILE).read_text().strip() for one in releases.iterdir() if one.is_dir()}
        task = {"title": "each hour", "schedule_kind": "every", "schedule_expr": "1h"}
        task["payload"] = {"pipeline": [{"id": "a", "uses": "noop"}]}  # type: ignore[assignment]
        assert ask(system, "POST", "/tasks", task).status_code == 201
        unusable = ask(system, "GET", "/tasks").status_code, ask(system, "GET", "/health").status_code
        system.ledger.leases.give_back("guard", "held off by the test")
        with guarding():
            wait_until(lambda: system.latest().state == "rolled_back", 120)
        ran["after"] = containers(docker_engine)
        yield Told(system, docker_engine, second, third, images, ran, unusable)


def test_each_version_runs_as_the_image_that_is_on_record(told):
    for version in ("v1", "v2", "v3"):
        assert set(told.ran[version].values()) == {told.images[version]}
        tagged = docker(told.engine, "image", "inspect", "--format", "{{.Id}}", f"golive/ordinaut:{version}")
        assert tagged == told.images[version]
    assert len(set(told.images.values())) == 3
    assert told.images["v2"].startswith("sha256:")
    assert Path(told.system.home / "repository").is_dir()


def test_v2_went_live_with_its_checklist_filled_in(told):
    assert told.system.ledger.releases.get(told.second).state == "superseded"
    standing = told.standing(told.second)
    found = Counter(standing.values())
    assert (found["failed"], found["open"], found["signed"], found["waived"]) == (0, 0, 19, 4)
    assert {row for row, one in standing.items() if one == "unknown"} <= {"OR-132"}  # how fast it grows takes an hour
    assert {row for row, one in standing.items() if one == "not reached"} <= NOT_REACHED
    assert found["passed"] >= 182
    facts = gather(told.system.ledger, told.second)
    assert {one.role for one in facts.signatures} == set(told.system.file["sign_off"]["go"])


NOT_REACHED = {"OR-177", "OR-180", "OR-181", "OR-194", "OR-197", "OR-200", "OR-201", "OR-203", "OR-207"}
"""What is of the whole watch, or of a rollback."""


def test_v3_could_not_be_used_while_its_health_was_well_and_was_taken_back(told):
    assert told.unusable == (500, 200)
    row = told.system.ledger.releases.get(told.third)
    assert (row.state, row.version, row.previous_version) == ("rolled_back", "v3", "v2")
    assert row.automatic_rollback_at is not None
    assert told.ran["after"] == told.ran["after"] | dict.fromkeys(told.ran["v2"], told.images["v2"])
    answer = ask(told.system, "GET", "/tasks")
    assert (answer.status_code, answer.headers["x-version"]) == (200, "v2")
    assert any(task["schedule_kind"] == "every" for task in answer.json()["tasks"])  # what was kept stays
    assert told.system.ledger.releases.blocked("ordinaut", "v3") is not None
    assert "down" in told.system.notes(told.third)
    standing = told.standing(told.third)
    assert {standing[row] for row in ("OR-200", "OR-201", "OR-204", "OR-205")} == {"passed"}
    assert standing["OR-203"] == "not reached"  # the schema stayed, so nothing had to be restored


def test_the_lasting_services_were_never_touched(told):
    for name in ("postgres", "redis"):
        state = json.loads(docker(told.engine, "inspect", name))[0]
        assert state["State"]["Running"]
        assert state["RestartCount"] == 0


def test_what_breaks_in_the_containers_and_the_monitoring_is_found(told):
    """Last, since it takes the system apart."""
    from tasks.context import production, world
    from tasks.settings import Settings
    from tasks.spec.loading import load

    file = load(told.system.path)
    target = production(file, Settings.from_environment(), world(), "v2")

    def looks(*names: str) -> dict[str, Outcome]:
        return {name: file.check(name).look(target).outcome for name in names}

    names = (
        "every container of the version runs",
        "no container was started again",
        "the full health check of the system passes",
    )
    assert set(looks(*names).values()) == {P}
    docker(told.engine, "stop", "--time", "1", "ordinaut-main-worker")
    assert set(looks(*names[:2]).values()) == {F}
    docker(told.engine, "stop", "--time", "1", "redis")
    assert looks("the service and all its parts are healthy", names[2]) == dict.fromkeys(
        ("the service and all its parts are healthy", names[2]), F
    )
    docker(told.engine, "stop", "--time", "1", "ordinaut-main-api")
    assert looks("API answers", "API status", names[2]) == dict.fromkeys(("API answers", "API status", names[2]), F)
