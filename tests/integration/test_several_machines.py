"""Prefect on PostgreSQL and Redis with two API servers, and workers near their targets, as the guide has it."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.fleet import UP_WITHIN, Fleet, Machine, a_fleet
from tests.flows import GROW, SmallSystem, wait_until

pytestmark = pytest.mark.timeout(420)


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
    """The system of the pool north, which v1 serves; a health check of its release waits for the file ``go``."""
    home = fleet.home / "shop"
    home.mkdir()
    system = SmallSystem.make(home, fleet.postgres)
    waits = {"kind": "command", "name": "go is there", "argv": ["sh", "-c", f"until [ -e {home}/go ]; do sleep 0.1; done"]}
    system.write({"checks.health": [{**waits, "cwd": str(home), "timeout": "150s"}]})
    try:
        system.phase("deploy", "v1")
        yield system
    finally:
        system.close()


def run_of(fleet: Fleet, deployment: str, **parameters: str) -> str:
    """Start a run as the UI does, and return its id."""
    found = fleet.ask("GET", f"/deployments/name/{deployment}")
    return str(fleet.ask("POST", f"/deployments/{found['id']}/create_flow_run", parameters=parameters)["id"])


def ended(fleet: Fleet, run: str, machine: Machine) -> None:
    """Wait until a run has ended, which must have gone well."""
    seen: dict[str, Any] = {}

    def has_ended() -> bool:
        seen.update(fleet.ask("GET", f"/flow_runs/{run}")["state"])
        return seen["type"] in {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}

    with suppress(TimeoutError):
        wait_until(has_ended, within=UP_WITHIN)
    assert seen["type"] == "COMPLETED", f"{seen}\n{machine.log('worker')[-5000:]}"


def test_a_release_outlives_the_api_server_that_it_began_with_and_each_pool_has_its_own(
    fleet: Fleet, shop: SmallSystem
) -> None:
    # Another system in another place, whose secrets and release file only the machines of its pool have.
    south = fleet.home / "depot"
    (south / "systems" / "depot").mkdir(parents=True)
    depot = {**shop.plain_file(), "system": "depot", "database": {**shop.file["database"], "dsn": "${env:DEPOT_DSN}"}}
    import json

    (south / "systems" / "depot" / "release.yaml").write_text(json.dumps(depot))
    shop.add_version("v2", up={"1_grow": GROW})
    north = fleet.worker("worker-north", "golive-north", **shop.environment)
    other = fleet.worker(
        "worker-south",
        "golive-south",
        GOLIVE_HOME=south / "golive",
        GOLIVE_SYSTEMS=south / "systems",
        GOLIVE_LEDGER_URL=shop.ledger_url,
        DEPOT_DSN=shop.dsn,
    )
    for machine in (north, other):
        machine.shell("golive register")
        machine.start("worker")

    # Nobody without the password may start anything.
    bare = httpx.post(f"{fleet.api}/deployments/filter", json={}, timeout=30.0, trust_env=False)
    assert bare.status_code == 401

    run = run_of(fleet, "release/release@golive-north", system="shop", version="v2", started_by="ann")
    book = shop.ledger.releases
    wait_until(lambda: book.latest("shop", 1)[0].state == "health", within=UP_WITHIN)
    fleet.first.lose_power("api")
    (shop.home / "go").touch()
    ended(fleet, run, north)
    assert (shop.latest().state, shop.serving()) == ("watching", "v2")

    # The other pool's work comes to its worker through the server that is left, and stands in the same ledger.
    ended(fleet, run_of(fleet, "preflight/preflight@golive-south", system="depot", version="v2"), other)
    assert book.latest("depot", 1)[0].state == "done"

    # What the server that is left says of the run has gone through Redis to the services, and from there into the database.
    def told() -> list[str]:
        wanted = {"any_resource": {"id": [f"prefect.flow-run.{run}"]}}
        found = fleet.ask("POST", "/events/filter", filter={"resource": {"id": [f"prefect.flow-run.{run}"]}})
        del wanted
        return [one["event"] for one in found["events"]]

    wait_until(lambda: "prefect.flow-run.Completed" in told(), within=UP_WITHIN)
    assert "passed" in os.environ.get("NEVER", "passed")
