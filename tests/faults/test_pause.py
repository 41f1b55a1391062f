"""Requests held back during production's migration: none is lost, whoever is killed meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.domain.ports import RunningServer
from tasks.holding import HOLD, LET_GO
from tests.flows import GROW, SmallSystem
from tests.nursery import Nursery
from tests.services import Clients, free_port

# Production's alone: the copy of the rehearsal is locked for no longer than it must be.
_SLOW = "SELECT pg_sleep(CASE WHEN current_database() LIKE 'shop%' THEN 1 ELSE 0 END);\n"


@pytest.fixture
def system(open_directory: Path, pg_server: RunningServer) -> Iterator[SmallSystem]:
    """A system of which v1 serves, which does not wait for locks, and whose v2 locks its table for a second."""
    system = SmallSystem.make(open_directory, pg_server)
    try:
        rollout = {"kind": "blue_green", "ports": [free_port(), free_port()], "drain": "0s", "ready": {"every": "50ms"}}
        system.write(
            {
                "router": {"kind": "embedded", "listen": system.port},
                "rollout": rollout,
                "migration.pause": "12s",
                "migration.limits.tries": 20,
                "platform.processes.web.environment.PGOPTIONS": "-c lock_timeout=100ms",
            }
        )
        down = {"1_grow": "ALTER TABLE item DROP COLUMN colour;\n"}
        query = "SELECT id, colour FROM item ORDER BY id LIMIT 5"
        system.add_version("v2", query=query, up={"1_grow": GROW + _SLOW}, down=down)
        system.phase("deploy", "v1")
        yield system
    finally:
        system.close()


@pytest.mark.timeout(200)
def test_a_pause_loses_no_request_by_a_long_lock_nor_by_a_kill_and_ends_with_the_rollback(
    system: SmallSystem, nursery: Nursery
) -> None:
    with Clients(system.port, path="/items") as clients:
        assert nursery.run("release", [HOLD], system="shop", version="v2")
        killed = system.latest().id
        held = clients.total
        assert system.rollback(reason="its process died", release=killed) == "v1"
        assert ("rollback", LET_GO, "done") in system.steps(killed)
        clients.until(held + 100)
        assert clients.total >= held + 100
        system.release("v2")
        steps = {
            one.name: one.detail for one in system.ledger.releases.steps(system.latest().id) if one.event == "done"
        }
        told = steps[LET_GO]
        assert told["requests"] >= 4
        assert 1.0 <= told["seconds"] < 12
        clients.until(clients.total + 100)
    assert clients.lost == []
    assert system.serving() == "v2"
