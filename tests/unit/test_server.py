"""golive's own Prefect server: who may use it, what it is started with, and where it keeps its things."""

from __future__ import annotations

import json
import os
import stat
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from supervisor.options import ServerOptions

from deployments import environment, serving
from deployments.registering import (
    _prefect_file,
    become_worker,
    ensure_limit,
    register_there,
    wanted_deployments,
)
from deployments.server import LocalServer, local_server, password_file
from tasks.domain.errors import AccessDenied, Refused, Unreachable
from tasks.settings import POOL, Settings
from tests.scripted import scripted


@pytest.fixture(autouse=True)
def _own_environment() -> Iterator[None]:
    """An environment without golive's and Prefect's variables, put back afterwards."""
    before = dict(os.environ)
    for name in [name for name in os.environ if name.startswith(("PREFECT_", "GOLIVE_"))]:
        del os.environ[name]
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home", systems=tmp_path / "systems", ledger_url=None)


def test_only_who_may_read_the_home_may_use_the_server(settings: Settings) -> None:
    server = local_server(settings)
    assert stat.S_IMODE(password_file(settings).stat().st_mode) == 0o600
    assert stat.S_IMODE(server.home.stat().st_mode) == 0o700
    assert server.environment["PREFECT_SERVER_API_AUTH_STRING"] == server.password
    assert server.environment["PREFECT_API_AUTH_STRING"] == server.password
    assert server.headers["Authorization"].startswith("Basic ")
    assert len(server.password) > 30
    assert server.password not in repr(server)


def test_pages_of_other_sites_may_not_use_the_server(settings: Settings) -> None:
    server = local_server(settings)
    allowed = server.environment["PREFECT_SERVER_API_CORS_ALLOWED_ORIGINS"].split(",")
    assert allowed == [server.ui, f"http://localhost:{server.port}"]


def test_processes_that_come_first_at_the_same_time_get_one_password(settings: Settings) -> None:
    local_server(settings)
    for _ in range(20):
        password_file(settings).unlink()
        with ThreadPoolExecutor(8) as at_once:
            assert len(set(at_once.map(lambda _: local_server(settings).password, range(8)))) == 1
    assert sorted(path.name for path in password_file(settings).parent.iterdir()) == ["password", "port"]


def test_a_server_without_a_password_asks_for_none(tmp_path: Path) -> None:
    server = LocalServer(tmp_path, 4200)
    assert not server.headers
    assert not [name for name in server.environment if "AUTH" in name]


@pytest.mark.parametrize("name", ["plain", "a b", "100%", "50%s off", "it's"])
def test_supervisor_reads_any_path_as_it_is(tmp_path: Path, name: str) -> None:
    server = LocalServer(tmp_path / name, 4200)
    server.home.mkdir()
    config = server.home / "supervisord.conf"
    config.write_text(server.config())
    options = ServerOptions()
    options.realize(["-c", str(config)])
    programs = {process.name: process for group in options.process_group_configs for process in group.process_configs}
    assert options.pidfile == str(server.home / "supervisord.pid")
    assert options.server_configs[0]["file"] == str(server.home / "control.sock")
    assert programs["server"].stdout_logfile == str(server.home / "server.log")
    assert programs["worker"].stdout_logfile == str(server.home / "worker.log")
    # Three tries, as supervisor has it, are over within six seconds of a database that is away.
    assert all(one.autorestart and one.startretries == 100 for one in programs.values())


def test_relative_places_become_absolute_before_anything_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GOLIVE_HOME", "home")
    monkeypatch.setenv("GOLIVE_SYSTEMS", "systems")
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    with pytest.raises(Unreachable):
        serving.connect(Settings.from_environment(), print)
    assert os.environ["GOLIVE_HOME"] == str(tmp_path / "home")
    assert os.environ["GOLIVE_SYSTEMS"] == str(tmp_path / "systems")


def test_who_names_golives_own_server_by_its_address_gets_its_password_too(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = LocalServer(settings.home / "prefect", 9, local_server(settings).password)
    (settings.home / "prefect" / "port").write_text("9")
    monkeypatch.setenv("PREFECT_API_URL", own.api)
    with pytest.raises(Unreachable):
        serving.connect(settings, print)
    assert os.environ["PREFECT_API_AUTH_STRING"] == own.password


OWN = ["GOLIVE_LEDGER_URL"]


def test_a_secret_that_is_exported_later_is_noticed(tmp_path: Path) -> None:
    environment.remember(tmp_path, {"PATH": "/bin"})
    now = {"PATH": "/usr/bin", "SHOP_DSN": "postgresql://ana:hidden@db/shop", "SHLVL": "2"}
    assert environment.difference(tmp_path, now, OWN, {"SHOP_DSN"}).changed == ("SHOP_DSN",)
    environment.remember(tmp_path, now)
    assert environment.difference(tmp_path, now, OWN, {"SHOP_DSN"}) == environment.Difference()
    other = {**now, "SHOP_DSN": "postgresql://ana:another@db/shop"}
    assert environment.difference(tmp_path, other, OWN, {"SHOP_DSN"}).changed == ("SHOP_DSN",)


def test_another_ledger_is_noticed_also_where_it_is_the_embedded_one(tmp_path: Path) -> None:
    environment.remember(tmp_path, {"GOLIVE_LEDGER_URL": "postgresql://db/golive"})
    assert environment.difference(tmp_path, {}, OWN, set()).changed == ("GOLIVE_LEDGER_URL",)


def test_what_only_the_worker_has_is_missing_and_not_changed(tmp_path: Path) -> None:
    environment.remember(tmp_path, {"SHOP_DSN": "one", "SHOP_TOKEN": "two"})
    found = environment.difference(tmp_path, {"SHOP_TOKEN": "three"}, OWN, {"SHOP_DSN", "SHOP_TOKEN", "NEVER_SET"})
    assert found == environment.Difference(changed=("SHOP_TOKEN",), missing=("SHOP_DSN",))


def test_no_value_is_on_record_and_nobody_else_may_read_it(tmp_path: Path) -> None:
    environment.remember(tmp_path, {"SHOP_DSN": "hidden-word", "ODD": "\udcff"})
    kept = tmp_path / environment.RECORD
    assert "hidden-word" not in kept.read_text()
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    first = kept.read_text()
    environment.remember(tmp_path, {"SHOP_DSN": "hidden-word", "ODD": "\udcff"})
    assert kept.read_text() != first, "the same salt twice"


def test_nothing_differs_where_nothing_is_on_record(tmp_path: Path) -> None:
    assert environment.difference(tmp_path, {"SHOP_DSN": "x"}, OWN, {"SHOP_DSN"}) == environment.Difference()


def test_the_variables_that_release_files_name_are_found(tmp_path: Path) -> None:
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "release.yaml").write_text('dsn: ${env:SHOP_DSN}\nh: "Bearer ${env:TOKEN} ${file:/x}"\n')
    assert environment.named_in(tmp_path) == {"SHOP_DSN", "TOKEN"}
    assert environment.named_in(tmp_path / "nowhere") == set()


def test_a_server_whose_database_was_locked_is_asked_again(tmp_path: Path) -> None:
    busy = (503, {"exception_message": "Service Unavailable"})
    limit = "/api/v2/concurrency_limits/golive:shop"
    with scripted({limit: deque([busy, {"name": "golive:shop"}])}) as there:
        ensure_limit(LocalServer(tmp_path, there.server_port), "golive:shop")
        # It is there, so that none is made.
        assert [(method, path) for method, path, _ in there.seen] == [("GET", limit)] * 2


SHARED = "postgresql://golive@db/golive"


def at(url: str, tmp_path: Path, **changes: Any) -> Settings:
    os.environ["PREFECT_API_URL"] = url
    return replace(Settings(tmp_path / "home", tmp_path / "systems", SHARED, pool="golive-north"), **changes)


def test_nothing_is_registered_with_golives_own_server_or_beside_a_ledger_of_this_machine_alone(tmp_path: Path) -> None:
    settings = Settings(tmp_path / "home", tmp_path / "systems", SHARED)
    with pytest.raises(Refused, match="golive up"):
        register_there(settings, print)
    with pytest.raises(Refused, match="golive up"):
        register_there(at(f"{local_server(settings).api}/", tmp_path), print)
    with scripted({}) as there:
        with pytest.raises(Refused, match="GOLIVE_LEDGER_URL"):
            register_there(at(f"{there.url}/api", tmp_path, ledger_url=None), print)
        with pytest.raises(Refused, match="GOLIVE_LEDGER_URL"):
            become_worker(at(f"{there.url}/api", tmp_path, ledger_url=None), 8)
        assert not there.seen


def test_a_worker_needs_its_pool_and_the_password(tmp_path: Path) -> None:
    os.environ["PREFECT_API_AUTH_STRING"] = "golive:a-word"
    pool = "/api/work_pools/golive-north"
    with scripted({pool: deque([(404, {}), (401, {})])}) as there:
        with pytest.raises(Refused, match="golive register"):
            become_worker(at(f"{there.url}/api", tmp_path), 8)
        assert there.seen[0][2]["Authorization"].startswith("Basic ")
        with pytest.raises(AccessDenied, match="PREFECT_API_AUTH_STRING"):
            become_worker(at(f"{there.url}/api", tmp_path), 8)


def test_each_pool_has_every_deployment_by_a_name_of_its_own(tmp_path: Path) -> None:
    settings = at("http://prefect.example.org/api", tmp_path)
    (settings.home / "prefect").mkdir(parents=True)
    own = json.loads(_prefect_file(settings).read_text())
    assert {one["name"] for one in own["deployments"]} == wanted_deployments("golive-north")
    assert {one["work_pool"]["name"] for one in own["deployments"]} == {"golive-north"}
    assert "release@golive-north" in wanted_deployments("golive-north")
    assert {name.partition("@")[0] for name in wanted_deployments("golive-north")} == wanted_deployments(POOL)
    # A guard of another pool that is alive must not speak for this one.
    (trigger,) = [trigger for one in own["deployments"] for trigger in one["triggers"]]
    assert trigger["match"] == {"prefect.resource.id": "golive.guard@golive-north"}
    assert _prefect_file(replace(settings, pool=POOL)).name == "prefect.yaml"
