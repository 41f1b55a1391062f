"""From the health check that fails in a release until clients get the old version alone, through Prefect or not."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tasks.adapters.pg_server import EmbeddedServers
from tasks.domain.errors import ChecksFailed
from tasks.domain.ports import RunningServer
from tests.benchmarks.rollouts import old_alone
from tests.benchmarks.steady import Seen, steady
from tests.benchmarks.timing import publish_table
from tests.flows import GROW, SmallSystem, prefect_api
from tests.services import free_port

_RATE = 20
"""Requests a second, each of which has the small service open a connection."""
_DRAIN = 0.5
_NEW = "SELECT id, name, 'v2' FROM item ORDER BY id LIMIT 5"
_INSTANCES = 3
_AIM = "old serves < 5 s beyond the drain"


def _rollouts() -> dict[str, dict[str, Any]]:
    pair = {"ports": [free_port(), free_port()]}
    return {
        "recreate": {"port": free_port()},
        "rolling": {"ports": [free_port() for _ in range(_INSTANCES)]},
        "rolling, back by two": {"ports": [free_port() for _ in range(_INSTANCES)], "max_unavailable": 2},
        "blue_green": pair,
        "canary": pair | {"steps": [{"share": "50%", "for": "1s"}], "least": 10},
    }


def _system(home: Path, server: RunningServer, kind: str, fields: Mapping[str, Any]) -> SmallSystem:
    """Set up a system whose version 2 is found bad by a health check that only version 1 passes."""
    system = SmallSystem.make(home, server)
    web, router = {"path": "/items"}, {"kind": "embedded", "listen": system.port}
    kind, ready = kind.partition(",")[0], {"every": "50ms", "within": "8s"}
    probe = {"probe": web} if kind == "canary" else {}
    old_only = {
        "kind": "http",
        "name": "is version 1",
        "url": "{base_url}/items",
        "answer_headers": {"X-Version": "v1"},
    }
    system.write(
        {
            "router": router,
            "rollout": {"kind": kind, "ready": ready, "drain": f"{_DRAIN:g}s", **fields, **probe},
            "checks.health": [old_only],
        }
    )
    system.add_version("v2", query=_NEW, up={"1_grow": GROW})
    return system


def _way_back(
    home: Path, server: RunningServer, kind: str, fields: Mapping[str, Any], *, prefect: bool
) -> Mapping[str, Any]:
    home.mkdir()
    home.chmod(0o755)
    system = _system(home, server, kind, fields)
    system.through_prefect = prefect
    try:
        system.phase("deploy", "v1")
        with steady(system.port, _RATE) as seen:
            try:
                system.release("v2")
            except ChecksFailed:
                pass
            else:
                raise RuntimeError("version 2 went live")
            time.sleep(1)
        row = system.latest()
        (failed,) = [one for one in system.ledger.evidence.measurements(row.id, "health") if one.outcome == "failed"]
        return _figures(seen, failed.at.timestamp(), row.state)
    finally:
        system.close()


def _figures(seen: Seen, failed_at: float, state: str) -> Mapping[str, Any]:
    since = failed_at - time.time() + time.monotonic()
    lost = sum(one.outcome != "200" for one in seen.sent)
    return {
        "ended": state,
        "old serves s": round(old_alone(seen.between(since, time.monotonic()), since, lambda body: "v2" in body), 2),
        "of that draining s": _DRAIN,
        "requests": len(seen.sent),
        "lost": lost,
    }


def main(directory: Path) -> None:
    """Measure each rollout with and without Prefect once, and publish."""
    rows: dict[str, Mapping[str, Any]] = {}
    with ExitStack() as stack:
        server = stack.enter_context(EmbeddedServers().throwaway(directory / "server"))
        stack.enter_context(prefect_api())
        for kind, fields in _rollouts().items():
            for way, prefect in (("through Prefect", True), ("Prefect away", False)):
                home = directory / f"{kind.replace(', ', '-').replace(' ', '-')}-{prefect}"
                rows[f"{kind}, {way}"] = row = _way_back(home, server, kind, fields, prefect=prefect)
                print(f"{kind}, {way}: {row}", flush=True)
    publish_table(
        "way_back", {"requests a second": _RATE, "rolling instances": _INSTANCES}, rows, dict.fromkeys(rows, _AIM)
    )
