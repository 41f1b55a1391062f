"""Prefect's server and worker are killed: what keeps them running starts them again, and the server knows its runs."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from deployments.server import LocalServer
from tasks.settings import POOL
from tests.flows import wait_until
from tests.watch_nursery import supervised_pid


@pytest.mark.timeout(300)
def test_a_server_and_a_worker_that_are_killed_come_back(prefect_server: str) -> None:
    """The same supervisor, with the same configuration, keeps those of ``golive up``."""
    server = LocalServer(Path(os.environ["PREFECT_HOME"]), urlsplit(prefect_server).port or 0)
    with httpx.Client(base_url=prefect_server, timeout=30.0, trust_env=False) as api:
        if api.get(f"/work_pools/{POOL}").status_code == 404:
            api.post("/work_pools/", json={"name": POOL, "type": "process"}).raise_for_status()
    server.ensure("worker")
    before = {name: supervised_pid(server.home, name) for name in ("server", "worker")}

    def again(name: str) -> bool:
        with suppress(ValueError):
            return supervised_pid(server.home, name) != before[name]
        return False

    try:
        for pid in before.values():
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: again("server") and again("worker"), 120)
        server.wait()
        pools = httpx.post(f"{prefect_server}/work_pools/filter", json={}, timeout=30.0, trust_env=False).json()
        assert POOL in [one["name"] for one in pools]
    finally:
        server.control("stop", "worker")
