"""Prefect on PostgreSQL and Redis with two API servers, and workers near their targets, as the guide has it."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from deployments.doctor.finding import Finding
from deployments.doctor.server import findings
from deployments.server import http
from tasks.domain.outcome import Outcome
from tasks.settings import Settings, deployment_name
from tests.fleet import PASSWORD, UP_WITHIN, Fleet, Machine, a_fleet
from tests.flows import GROW, SmallSystem, wait_until
from tests.services import free_port

pytestmark = pytest.mark.timeout(900)
NORTH, SOUTH = "golive-north", "golive-south"


@pytest.fixture(scope="module")
def fleet() -> Iterator[Fleet]:
    home = Path(tempfile.mkdtemp(prefix="golive-test-"))
    home.chmod(0o755)
    try:
        with a_fleet(home) as found:
            yield found
    finally:
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="module")
def shop(fleet: Fleet) -> Iterator[SmallSystem]:
    """A system that v1 serves; a health check of its releases waits for the file ``go``."""
    home = fleet.home / "north"
    home.mkdir()
    system = SmallSystem.make(home, fleet.postgres)
    waits = ["sh", "-c", f"until [ -e {home}/go ]; do sleep 0.1; done"]
    check = {"kind": "command", "name": "go is there", "argv": waits, "cwd": str(home), "timeout": "150s"}
    system.write({"checks.health": [check]})
    system.add_version("v2", up={"1_grow": GROW})
    try:
        system.phase("deploy", "v1")
        yield system
    finally:
        system.close()


@pytest.fixture(scope="module")
def north(fleet: Fleet, shop: SmallSystem) -> Machine:
    """The worker's machine where the shop is, of which nothing starts by itself while a test runs."""
    given = {**shop.environment, "GOLIVE_LEDGER_URL": fleet.over_tls(shop.ledger_url)}
    machine = fleet.worker("worker-north", NORTH, **given)
    machine.shell("golive register")
    for one in fleet.ask("POST", "/deployments/filter"):
        if one["schedules"]:
            fleet.ask("PATCH", f"/deployments/{one['id']}", paused=True)
    machine.start("worker")
    return machine


@pytest.fixture(scope="module")
def south(fleet: Fleet, shop: SmallSystem, north: Machine) -> Machine:
    """The worker's machine in another place, which alone has the release file and the secret of another system."""
    home = fleet.home / "south"
    (home / "systems" / "depot").mkdir(parents=True)
    depot = {**shop.plain_file(), "system": "depot"}
    depot["database"] = {**depot["database"], "dsn": "${env:DEPOT_DSN}"}
    depot["rollout"] = {**depot["rollout"], "port": free_port()}
    (home / "systems" / "depot" / "release.yaml").write_text(json.dumps(depot))
    places = {"GOLIVE_HOME": home / "golive", "GOLIVE_SYSTEMS": home / "systems"}
    ledger_url = fleet.over_tls(shop.ledger_url)
    machine = fleet.worker("worker-south", SOUTH, **places, GOLIVE_LEDGER_URL=ledger_url, DEPOT_DSN=shop.dsn)
    # What golive register does, for one deployment instead of all, which takes a quarter of the whole test's time.
    fleet.ask("POST", "/work_pools/", name=SOUTH, type="process")
    like = fleet.ask("GET", f"/deployments/name/preflight/preflight@{NORTH}")
    same = {key: like[key] for key in ("flow_id", "entrypoint", "path", "pull_steps")}
    fleet.ask("POST", "/deployments/", name=deployment_name("preflight", SOUTH), work_pool_name=SOUTH, **same)
    machine.start("worker")
    return machine


def run_of(fleet: Fleet, deployment: str, **parameters: str) -> str:
    """Start a run as the UI does, and return its id."""
    found = fleet.ask("GET", f"/deployments/name/{deployment}")
    return str(fleet.ask("POST", f"/deployments/{found['id']}/create_flow_run", parameters=parameters)["id"])


def require_completed(fleet: Fleet, run: str, machine: Machine) -> None:
    """Wait until a run has ended, which must have gone well."""
    seen: dict[str, Any] = {}

    def has_ended() -> bool:
        seen.update(fleet.ask("GET", f"/flow_runs/{run}")["state"])
        return seen["type"] in {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}

    with suppress(TimeoutError):
        wait_until(has_ended, within=UP_WITHIN)
    assert seen["type"] == "COMPLETED", f"{seen}\n{machine.log('worker')[-5000:]}"


def test_a_release_outlives_the_api_server_that_it_began_with_and_each_pool_works_for_its_own_systems(
    fleet: Fleet, shop: SmallSystem, north: Machine, south: Machine
) -> None:
    releases = shop.ledger.releases
    run = run_of(fleet, f"release/release@{NORTH}", system="shop", version="v2", started_by="ann")
    wait_until(lambda: releases.latest("shop", 1)[0].state == "health", within=UP_WITHIN)
    fleet.first.lose_power("api")
    (shop.home / "go").touch()
    require_completed(fleet, run, north)
    assert (shop.latest().state, shop.serving()) == ("watching", "v2")

    # What is asked of the server that is left comes to the other pool's worker, and stands in the same ledger.
    look = run_of(fleet, f"preflight/preflight@{SOUTH}", system="depot", version="v2", started_by="bob")
    require_completed(fleet, look, south)
    assert releases.latest("depot", 1)[0].state == "done"

    # From the server that is left by Redis to the services, and from them into the database.
    asked = {"resource": {"id": [f"prefect.flow-run.{run}"]}}

    def has_been_told() -> bool:
        events = fleet.ask("POST", "/events/filter", filter=asked)["events"]
        return "prefect.flow-run.Completed" in {one["event"] for one in events}

    wait_until(has_been_told, within=UP_WITHIN)
    assert fleet.in_clear() == []


def test_doctor_sees_the_pool_of_its_machine_at_the_shared_server(
    fleet: Fleet,
    shop: SmallSystem,
    north: Machine,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    monkeypatch.setenv("PREFECT_API_URL", fleet.api)
    monkeypatch.setenv("PREFECT_API_AUTH_STRING", PASSWORD)
    monkeypatch.setenv("SSL_CERT_FILE", str(fleet.authority))
    # This process's client took note of whom to trust when it was made, maybe for a test before this one.
    http.cache_clear()
    request.addfinalizer(http.cache_clear)
    settings = replace(Settings.from_environment(), pool=NORTH)

    seen: dict[str, Finding] = {}

    def has_answered() -> bool:
        seen.clear()
        seen.update((one.about, one) for one in findings(settings))
        return "worker" in seen

    def found() -> dict[str, Finding]:
        # A server that was lost right before may still be asked first, and then nothing is known of workers.
        wait_until(has_answered, within=UP_WITHIN)
        return dict(seen)

    wait_until(lambda: found()["worker"].outcome is Outcome.PASSED, within=UP_WITHIN)
    assert {about: one.outcome for about, one in found().items()} == dict.fromkeys(
        ("Prefect", "worker", "deployments"), Outcome.PASSED
    )
    settings = replace(settings, pool="golive-east")
    assert (found()["worker"].outcome, found()["deployments"].do) == (Outcome.FAILED, "golive register")
    monkeypatch.setenv("PREFECT_API_AUTH_STRING", "golive:another-word")
    assert "asks for another password" in found()["worker"].seen
