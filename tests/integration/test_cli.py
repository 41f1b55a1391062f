"""The command line with a real server, worker, ledger and system."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from deployments.serving import guard_again
from tasks.adapters.postgres import Postgres
from tasks.settings import Settings
from tests.flows import GROW, SmallSystem, prefect_api
from tests.processes import running
from tests.services import free_port
from tests.watched import deploy, end_watch, probed, probes_of, put_under_watch, watch_file

pytestmark = pytest.mark.timeout(300)
ROOT = Path(__file__).resolve().parents[2]
Golive = Callable[..., subprocess.CompletedProcess[str]]


def _runner(environment: dict[str, str]) -> Golive:
    def golive(*words: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "deployments.cli", *words],
            check=False,
            capture_output=True,
            text=True,
            cwd=ROOT,
            env=environment,
            timeout=200,
        )
        assert done.returncode == code, f"golive {' '.join(words)}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stdout + done.stderr
        return done

    return golive


@pytest.fixture
def own_environment(open_directory: Path) -> dict[str, str]:
    """The environment of an installation below a directory of the test's own."""
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith(("GOLIVE_", "PREFECT_"))},
        "GOLIVE_HOME": str(open_directory / "home"),
        "GOLIVE_SYSTEMS": str(open_directory / "systems"),
        "GOLIVE_PREFECT_PORT": str(free_port()),
    }


@pytest.fixture
def own(own_environment: dict[str, str]) -> Iterator[Golive]:
    """`golive` in that environment, taken down at the end."""
    golive = _runner(own_environment)
    yield golive
    golive("down", "--force")


class _Patient(httpx.HTTPTransport):
    """Sends again what the server answers with 503, its SQLite being locked, as Prefect's own client does."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        for _ in range(20):
            answer = super().handle_request(request)
            if answer.status_code != httpx.codes.SERVICE_UNAVAILABLE:
                break
            answer.close()
            time.sleep(0.5)
        return answer


def _left_running(home: str) -> list[str]:
    at_work = [one for one in running() if home in one.words or f"GOLIVE_HOME={home}" in one.environment]
    return [one.words for one in at_work if one.pid != os.getpid()]


def _environment_of(words: str, home: str) -> str:
    """Return the environment of the process with these words in its command line that works below a home."""
    found = (one.environment for one in running() if words in one.words)
    return next((environment for environment in found if f"GOLIVE_HOME={home}" in environment), "")


def _until(holds: Callable[[], Any], within: float = 60.0) -> Any:
    end = time.monotonic() + within
    while not (value := holds()):
        assert time.monotonic() < end, f"not so within {within:g} s"
        time.sleep(0.3)
    return value


def test_up_starts_all_that_a_person_needs_and_down_ends_it(own: Golive, own_environment: dict[str, str]) -> None:
    own("init", "shop")
    said = own("up").stdout
    ui = said.split("Prefect's UI: ")[1].split()[0]
    count = (ROOT / "prefect.yaml").read_text(encoding="utf-8").count("\n  - name: ")
    assert f"{count} deployments: announce, approve, backup" in said
    assert "systems: shop" in said
    password = Path(said.split("password that is in ")[1].splitlines()[0])
    assert password.stat().st_mode & 0o777 == 0o600
    assert httpx.post(f"{ui}/api/deployments/filter", json={}, trust_env=False).status_code == 401
    user, _, word = password.read_text().strip().partition(":")
    with httpx.Client(base_url=f"{ui}/api", auth=(user, word), timeout=20.0, transport=_Patient()) as api:
        registered = {one["name"]: one for one in api.post("/deployments/filter", json={}).json()}
        assert registered["release"]["parameter_openapi_schema"]["properties"]["system"]["enum"] == ["shop"]
        assert api.get("/v2/concurrency_limits/golive:shop").json()["limit"] == 1
        _until(lambda: all(one["status"] == "READY" for one in api.post("/deployments/filter", json={}).json()))
        refused = api.post(
            f"/deployments/{registered['release']['id']}/create_flow_run",
            json={"parameters": {"system": "shop", "version": "v2; touch x"}, "enforce_parameter_schema": True},
        )
        assert refused.is_client_error, refused.text
        # The server's own scheduler is what lets the monitor look every hour.
        scheduled = {"flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}}}
        _until(lambda: api.post("/flow_runs/count", json=scheduled).json())
        run = api.post(
            f"/deployments/{registered['monitor']['id']}/create_flow_run", json={"state": {"type": "SCHEDULED"}}
        ).json()
        ended = _until(lambda: _ended(api, run["id"]))
        assert ended == "COMPLETED"
    again = own("up")
    assert again.stdout == said
    assert "anew" not in again.stderr
    own_environment["SHOP_DSN"] = "postgresql://ana:hidden-word@127.0.0.1:9/shop"
    assert "starting the worker anew, since this changed: SHOP_DSN" in own("up").stderr
    home = own_environment["GOLIVE_HOME"]
    assert "hidden-word" in _environment_of("prefect worker start", home)
    assert "hidden-word" in _until(lambda: _environment_of("deployments.cli keep-guard", home))
    assert "hidden-word" not in (Path(home) / "prefect" / "environment.json").read_text()
    assert "no release yet" in own("status").stdout
    own("down")
    assert _until(lambda: not _left_running(own_environment["GOLIVE_HOME"]), 20.0)


def _ended(api: httpx.Client, run: str) -> str:
    state = api.get(f"/flow_runs/{run}").json()["state_type"]
    return str(state) if state in {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"} else ""


def test_a_command_starts_the_server_that_it_needs_and_says_so(own: Golive) -> None:
    first = own("monitor")
    assert "starting Prefect's server" in first.stderr
    assert first.stdout == "nothing is due\n"
    assert own("monitor").stderr == ""


def test_a_port_that_another_program_has_taken_is_told(own: Golive, own_environment: dict[str, str]) -> None:
    import socket

    home = Path(own_environment["GOLIVE_HOME"]) / "prefect"
    home.mkdir(parents=True)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        (home / "port").write_text(str(taken.getsockname()[1]))
        said = own("monitor", code=3).stderr
    assert "is taken by another program" in said


def test_up_puts_the_guard_back_over_what_is_under_watch(small_system: SmallSystem) -> None:
    settings, said = Settings.from_environment(), list[str]()
    guard_again(settings, said.append)
    assert said == []
    with probed() as service:
        watch_file(small_system, service)
        deploy(small_system)
        small_system.add_version("v2")
        watched = put_under_watch(small_system)
        small_system.ledger.leases.give_back("guard", "held off by the test")
        guard_again(settings, said.append)
        process = Path("/proc") / (settings.home / "guard.pid").read_text().strip()
        assert said == [f"guard: started as process {process.name}"]
        assert (process / "cwd").readlink() == settings.home
        _until(lambda: probes_of(small_system, watched))
        guard_again(settings, said.append)
        assert said[1:] == ["guard: alive"]
        end_watch(small_system, watched)
        _until(lambda: not process.exists())


def test_a_system_goes_live_and_back_by_commands_alone_and_waits_in_the_ledger_alone(small_system: SmallSystem) -> None:
    golive = _runner(dict(os.environ))
    small_system.add_version("v2", up={"1_grow": GROW})
    small_system.add_version("v3")
    golive("phase", "deploy", "shop", "v1", "--by", "ana")
    small_system.write({"sign_off": {"go": ["dba"]}})
    said = golive("release", "shop", "v2", "--reason", "colours", "--by", "ana").stdout
    assert small_system.serving() == "v1"
    waiting = small_system.latest().id
    assert waiting in said
    with prefect_api():  # whoever signs finds another server, as after the loss of all that Prefect knew
        signed = _runner(dict(os.environ))("approve", waiting, "--role", "dba", "--by", "bob")
    assert "is live and watched" in signed.stdout
    assert "way back: keep" in signed.stderr
    assert small_system.serving() == "v2"
    newest = json.loads(golive("status", "shop", "--json").stdout)["releases"][0]
    assert (newest["state"], newest["version"], newest["way_back"]) == ("watching", "v2", "keep")
    assert (newest["started_by"], newest["reason"], newest["previous_version"]) == ("ana", "colours", "v1")
    shown = golive("status", newest["id"]).stdout
    assert "way back: keep" in shown
    assert f"golive rollback shop --release {newest['id']}" in shown
    (backup,) = json.loads(golive("backups", "shop", "--json").stdout)
    assert backup["proven"]
    assert newest["id"] in golive("release", "shop", "v3", code=3).stderr
    assert "expected a release that is" in golive("resume", newest["id"], code=3).stderr
    assert "shop v1 serves again" in golive("rollback", "shop", "--reason", "colours run", "--by", "ana").stdout
    assert small_system.serving() == "v1"
    assert "colours run" in golive("release", "shop", "v2", code=3).stderr
    report = Path(golive("report", newest["id"]).stdout.strip())
    assert "colours run" in report.read_text()


def test_backups_are_taken_shown_drilled_and_restored_by_commands(small_system: SmallSystem) -> None:
    shop = small_system
    golive = _runner(dict(os.environ))
    said = golive("backup", "shop", "v1", "--by", "ana").stdout
    assert "proven: by restore in " in said
    assert "2 tables and 600 rows equal" in said
    drilled = golive("drill", "shop").stdout
    (one,) = json.loads(golive("backups", "--json").stdout)
    assert f"backup {one['id']} of shop: dump" in said
    assert f"where: {one['location']}" in said
    assert (one["system"], one["proven"], one["needed_by"]) == ("shop", True, [])
    assert one["drill"]["outcome"] == "passed"
    assert drilled == f"shop: {one['drill']['seen']}\n"
    # The command line holds no password: libpq finds it in its own file.
    words = shop.home / "pgpass"
    words.write_text(f"*:*:*:*:{shop.dsn.partition('postgres:')[2].partition('@')[0]}\n")
    words.chmod(0o600)
    golive = _runner({**os.environ, "PGPASSFILE": str(words)})
    other, bare = f"{shop.dsn}%20back", f"postgresql://postgres@{shop.dsn.rpartition('@')[2]}%20back"
    try:
        assert "2 tables compared" in golive("restore", str(one["id"]), "--to", bare).stdout
        assert shop.sql("SELECT count(*) AS n FROM item", other) == [{"n": 500}]
        kept = shop.sql_in_ledger("SELECT file_text FROM release WHERE scope = 'restore'")
        assert "${env:GOLIVE_RESTORE_TO}" in kept[0]["file_text"]
    finally:
        shop.sql(f'DROP DATABASE IF EXISTS "{Postgres().name_of(other)}"')


def test_a_check_that_fails_ends_the_command_with_its_own_code_and_no_traceback(small_system: SmallSystem) -> None:
    golive = _runner(dict(os.environ))
    small_system.add_version("v2", fault="items")
    golive("phase", "deploy", "shop", "v1")
    said = golive("phase", "health", "shop", "v1")
    assert said.stdout == "health of shop v1: done\n"
    small_system.write({"checks.health": [{"kind": "http", "name": "no", "url": "{base_url}/items", "status": 418}]})
    said = golive("phase", "health", "shop", "v1", code=4)
    assert "error: health:" in said.stderr
    assert small_system.dsn not in said.stdout + said.stderr


def test_ctrl_c_stops_a_release_and_leaves_it_on_record(small_system: SmallSystem) -> None:
    golive = _runner(dict(os.environ))
    small_system.phase("deploy", "v1")
    # A person's Ctrl-C, at a moment that is always the same: in the middle of a phase that goes on to its good end.
    argv = ["sh", "-c", "kill -INT $PPID"]
    small_system.write({"checks.preflight": [{"kind": "command", "name": "a person", "argv": argv}]})
    small_system.add_version("v2")
    said = golive("release", "shop", "v2", code=130).stderr
    assert "interrupted: no further step begins" in said
    assert "interrupted by a person; golive status" in said
    assert small_system.latest().state == "stopped"
    assert "interrupted by a person" in small_system.notes()
    assert small_system.serving() == "v1"
