"""A guard gives signs of life to Prefect, and an automation of a real server has it looked after when none come."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from ruamel.yaml import YAML

from tasks import heartbeat
from tests.flows import SmallSystem, wait_until
from tests.scripted import scripted
from tests.watched import Probed, end_watch, guarding, probes_of, put_under_watch, watch_file

ROOT = Path(__file__).resolve().parents[2]


def ask(api: str, path: str, **given: Any) -> Any:
    answer = httpx.post(f"{api}{path}", json=given, timeout=30.0, trust_env=False)
    answer.raise_for_status()
    return answer.json()


def register(*words: str) -> None:
    """Run Prefect's own command, as ``golive up`` does."""
    argv = [sys.executable, "-m", "prefect", "--no-prompt", *words]
    subprocess.run(argv, cwd=ROOT, check=True, timeout=120, env=dict(os.environ), capture_output=True)


def test_its_events_are_those_that_the_automation_waits_for() -> None:
    file = YAML(typ="safe").load((ROOT / "prefect.yaml").read_text())
    [trigger] = [one for deployment in file["deployments"] for one in deployment.get("triggers", ())]
    assert trigger["after"] == [heartbeat.BEAT]
    assert set(trigger["expect"]) == {heartbeat.BEAT, heartbeat.ENDED}
    assert trigger["match"] == {"prefect.resource.id": heartbeat.RESOURCE}
    assert trigger["for_each"] == ["prefect.resource.id"], "without it Prefect looks at nobody's silence too"
    assert trigger["within"] >= 3 * heartbeat.BEAT_EVERY, "two lost signs of life are no silence"


@pytest.mark.timeout(300)
def test_keep_guard_runs_when_no_sign_of_life_comes_any_more(prefect_server: str) -> None:
    with httpx.Client(base_url=prefect_server, timeout=30.0, trust_env=False) as api:
        if api.get("/work_pools/golive").status_code == 404:
            api.post("/work_pools/", json={"name": "golive", "type": "process"}).raise_for_status()
    register("deploy", "--name", "keep-guard", "--prefect-file", str(ROOT / "prefect.yaml"))
    [automation] = [one for one in ask(prefect_server, "/automations/filter") if "guard" in one["name"]]
    [keeper] = ask(prefect_server, "/deployments/filter", deployments={"name": {"any_": ["keep-guard"]}})
    assert automation["actions"][0]["deployment_id"] == keeper["id"]
    # Prefect looks for a silence as often as one may last; here as often as it may be asked to.
    wanted = {key: automation[key] for key in ("name", "description", "enabled", "actions")}
    changed = {**wanted, "trigger": {**automation["trigger"], "within": 10}}
    httpx.put(f"{prefect_server}/automations/{automation['id']}", json=changed, timeout=30.0).raise_for_status()

    def runs() -> list[Any]:
        found = ask(prefect_server, "/flow_runs/filter", deployments={"id": {"any_": [keeper["id"]]}})
        return [one for one in found if not one["auto_scheduled"]]

    guard = heartbeat.Heartbeat()
    for event in (heartbeat.BEAT, heartbeat.ENDED):
        guard.send(event, datetime.now(UTC))
        time.sleep(1)  # Prefect handles events beside one another, and forgets an end that it handles first
    time.sleep(16)  # a silence of ten seconds, and five until Prefect looks for one again
    assert not runs(), "a guard that ended well is missed by nobody"
    guard.send(heartbeat.BEAT, datetime.now(UTC))
    wait_until(runs, 90)
    time.sleep(17)
    assert len(runs()) == 1, "one silence is told once"


def test_a_guard_gives_signs_of_life_and_says_when_it_has_ended(
    open_directory: Path, pg_server: Any, service: Probed, monkeypatch: pytest.MonkeyPatch
) -> None:
    from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings

    monkeypatch.setattr(heartbeat, "BEAT_EVERY", 0.1)
    system = SmallSystem.make(open_directory, pg_server, guarded=True)
    try:
        system.add_version("v2")
        watch_file(system, service)
        release = put_under_watch(system)
        told: list[Any] = []

        def take(_method: str, _path: str, body: Any) -> Any:
            told.append((body[0]["event"], body[0]["resource"]))
            return 200, {}

        with scripted({"/api/events": take}) as there:
            url = f"http://127.0.0.1:{there.server_port}/api"
            with temporary_settings({PREFECT_API_URL: url, PREFECT_API_AUTH_STRING: "ann:word"}), guarding() as ended:
                wait_until(lambda: len(told) > 2)
                end_watch(system, release)
            assert ended == [0]
            resource = {"prefect.resource.id": heartbeat.RESOURCE}
            wait_until(lambda: told[-1] == (heartbeat.ENDED, resource))
            assert all(one == (heartbeat.BEAT, resource) for one in told[:-1])
            assert all(headers["Authorization"].startswith("Basic ") for _, _, headers in there.seen)
        assert probes_of(system, release)
    finally:
        system.close()


def test_a_guard_guards_though_prefect_takes_no_sign_of_life(
    open_directory: Path, pg_server: Any, service: Probed
) -> None:
    from prefect.settings import PREFECT_API_URL, temporary_settings

    system = SmallSystem.make(open_directory, pg_server, guarded=True)
    try:
        system.add_version("v2")
        watch_file(system, service)
        release = put_under_watch(system)
        with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}), guarding() as ended:
            wait_until(lambda: len(probes_of(system, release)) > 5)
            end_watch(system, release)
        assert ended == [0]
    finally:
        system.close()
