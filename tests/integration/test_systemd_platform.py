"""The platform systemd, with a real systemd and real processes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from tasks.domain.errors import Refused, RolloutFailed
from tasks.platforms import Instance, Running
from tasks.platforms.systemd import Systemd
from tests.managers import USER_UNITS, Manager, comes
from tests.platforms import COMMON, service_pids, systemd, worker_pids
from tests.services import SCRIPT, free_port
from tests.sites import a_target

ODD = ["100%", "%n", "$HOME", "{HOME}", "$$", 'say "x"', "it's", "back\\slash\\", "a  b", "", ";", "grün ✓", "-x"]
TELL = "import json, sys, time; print(json.dumps(sys.argv[1:]), flush=True); time.sleep(1000)"


@pytest.fixture
def target(tmp_path, world):
    return a_target(world, tmp_path)


@pytest.fixture
def run(target):
    """Start an instance on a platform; it is stopped after the test."""
    started: list[Systemd] = []

    def start(platform: Systemd, version: str = "v1", port: int = 0, *, background: bool = False) -> int:
        started.append(platform)
        port = port or free_port()
        instance = Instance("blue", version, target.release_dir, port, target.dsn, background=background)
        platform.start(target, instance)
        return port

    yield start
    for platform in started:
        platform.stop(target, "blue")


def _platform(manager: Manager, web: dict[str, Any], **fields: object) -> Systemd:
    where = {"directory": str(manager.directory / "units"), "prefix": manager.prefix}
    return Systemd.model_validate({"units": {"web": web}} | where | fields)


def test_units_hold_no_secret_come_back_after_a_reboot_and_leave_nothing_behind(systemd_manager, target, run, tmp_path):
    ask, platform = systemd_manager.systemctl, systemd(systemd_manager, {})
    # A start that was killed after it had put on record what it was about to do.
    cut_off = {"version": "v1", "port": 1, "units": {"web": ["demo-blue-web.service"], "background": []}}
    target.world.host.write(
        tmp_path / "systemd" / "slots" / "blue.json", json.dumps(cut_off | {"files": [], "hash": ""})
    )
    assert platform.status(target, "blue").running is Running.DOWN

    port = run(platform)
    units = ["demo-blue-web.service", "demo-blue-worker.service"]
    shown = ask("cat", *units) + ask("show", *units) + ask("status", "--lines=100", *units)
    assert "demo v1: web in blue" in shown
    assert "hidden-word" not in shown
    assert not [path for path in tmp_path.rglob("*") if path.stat().st_mode & 0o077]

    reloads = _last_reload(systemd_manager)
    (before,) = service_pids(port)
    run(platform, port=port)
    assert service_pids(port) == [before]
    assert _last_reload(systemd_manager) == reloads, "nothing changed"

    # What a boot does: it reads all units and starts what multi-user.target wants.
    ask("stop", *units)
    ask("daemon-reload")
    assert platform.status(target, "blue").running is Running.DOWN
    ask("restart", "multi-user.target")
    assert comes(lambda: platform.status(target, "blue").running is Running.UP)
    assert len(service_pids(port)) == 1
    assert worker_pids(port) == [], "the other version may do the background work"
    platform.background(target, "blue", run=True)
    assert ask("is-enabled", *units).split() == ["enabled", "enabled"]

    platform.stop(target, "blue")
    left = [path.name for path in (systemd_manager.directory / "units").rglob("demo-*")]
    assert left == []
    assert list((tmp_path / "systemd" / "environment").iterdir()) == []
    assert "demo-blue" not in ask("list-units", "--all")


def test_odd_arguments_reach_the_program_of_a_user_s_systemd_whose_log_is_a_file(systemd_manager, target, run):
    platform = _platform(
        systemd_manager,
        {"command": ["{python}", "-c", TELL, *ODD, "{slot}"], "environment": COMMON},
        scope="user",
        directory="",
        runtime_directory=str(systemd_manager.directory / "run"),
        prefix=(*systemd_manager.prefix, "env", f"HOME={systemd_manager.directory}/home"),
        log_to="file",
    )
    run(platform)
    name, _, said = platform.log(target, "blue")[-1].partition(": ")
    assert name == "demo-blue-web"
    assert json.loads(said) == [*ODD, "blue"]
    assert platform.status(target, "blue").running is Running.UP
    assert (systemd_manager.directory / USER_UNITS / "default.target.wants" / "demo-blue-web.service").exists()


def test_what_ends_again_and_again_is_refused_with_systemd_s_word_for_it(systemd_manager, run):
    web = {"command": ["/bin/sh", "-c", "echo last words; sleep 0.5; exit 7"]}
    with pytest.raises(RolloutFailed, match=r"status[ =]7") as caught:
        run(_platform(systemd_manager, web))
    assert "last words" in str(caught.value)


def test_background_work_that_does_not_come_up_takes_down_nothing_that_serves(systemd_manager, target, run):
    web = {"command": ["{python}", str(SCRIPT), "{port}"]}
    worker = {"command": ["/bin/sh", "-c", "echo no work; exit 3"], "role": "background"}
    platform = _platform(systemd_manager, web, units={"web": web, "worker": worker})
    port = run(platform)
    (before,) = service_pids(port)
    with pytest.raises(RolloutFailed, match="no work"):
        run(platform, port=port, background=True)
    assert service_pids(port) == [before]
    assert platform.status(target, "blue").running is Running.UP


def test_a_program_that_cannot_be_run_is_refused_before_anything_is_touched(systemd_manager, target, run):
    port = run(systemd(systemd_manager, {}))
    (before,) = service_pids(port)
    for web, words in (
        ({"command": ["/no/such/program"]}, "not executable"),
        ({"command": ["sleep", "9"], "settings": {"Memroy": "1G"}}, "Unknown key.*Memroy"),
        ({"command": ["sleep", "9"], "settings": {"MemoryMax": "much"}}, "much"),
    ):
        with pytest.raises(RolloutFailed, match=words):
            run(_platform(systemd_manager, web), port=port)
    assert service_pids(port) == [before]


def test_a_unit_of_somebody_else_is_left_alone(systemd_manager, run):
    foreign = systemd_manager.directory / "units" / "demo-blue-web.service"
    foreign.write_text("[Service]\nExecStart=/bin/true\n")
    try:
        with pytest.raises(Refused, match="is not golive's"):
            run(_platform(systemd_manager, {"command": ["sleep", "9"]}))
        assert foreign.read_text() == "[Service]\nExecStart=/bin/true\n"
    finally:
        foreign.unlink()


def test_a_setting_and_a_user_take_effect(systemd_manager, run):
    web = {"command": ["sleep", "1000"], "directory": "/", "user": "daemon", "settings": {"LimitNOFILE": "4321"}}
    run(_platform(systemd_manager, web))
    shown = systemd_manager.systemctl("show", "-p", "LimitNOFILE,User,ActiveState", "demo-blue-web")
    assert set(shown.split()) == {"LimitNOFILE=4321", "User=daemon", "ActiveState=active"}


@pytest.mark.parametrize("instance", ["slot", "port"])
def test_instances_of_a_template_that_is_there_get_their_environment_and_code(
    systemd_manager, target, run, tmp_path, instance
):
    template = systemd_manager.directory / "units" / f"shop-{instance}@.service"
    code = tmp_path / "code"
    template.write_text(
        f"[Service]\nType=exec\nWorkingDirectory={code}\nExecStart=/bin/sh -c 'exec python3 {SCRIPT} $PORT'\n"
        "[Install]\nWantedBy=multi-user.target\n"
    )
    fields = {
        "template": template.name,
        "instance": instance,
        "link": str(code),
        "environment": COMMON | {"PORT": "{port}"},
    }
    platform = _platform(systemd_manager, {}, units={}, templates={"web": fields})
    try:
        port = run(platform)
        status = platform.status(target, "blue")
        unit = f"shop-{instance}@{'blue' if instance == 'slot' else port}.service"
        assert (status.running, status.version, set(status.detail)) == (Running.UP, "v1", {unit})
        assert Path.readlink(code) == target.release_dir
        assert systemd_manager.systemctl("is-enabled", unit).strip() == "enabled"
        assert any("version v1 starts" in line for line in platform.log(target, "blue"))
        platform.stop(target, "blue")
        assert service_pids(port) == []
        assert [path.name for path in template.parent.glob("shop-*")] == [template.name]
    finally:
        template.unlink()


def test_a_template_that_is_not_there_is_named(systemd_manager, run):
    platform = _platform(systemd_manager, {}, units={}, templates={"web": {"template": "none@.service"}})
    with pytest.raises(RolloutFailed, match="none@blue"):
        run(platform)


def test_a_systemd_that_cannot_be_asked_is_unknown(systemd_manager, target, run):
    platform = _platform(systemd_manager, {"command": ["sleep", "1000"]})
    run(platform)
    assert platform.model_copy(update={"prefix": ("false",)}).status(target, "blue").running is Running.UNKNOWN


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, "nothing to run"),
        ({"units": {"a": {"command": ["x"]}}, "templates": {"a": {"template": "x@.service"}}}, "both"),
        ({"scope": "user", "units": {"a": {"command": ["x"], "user": "y"}}}, "leave user out"),
        ({"units": {"a": {"command": ["x"], "settings": {"ExecStart": "y"}}}}, "golive's to write"),
        ({"units": {"a": {"command": ["x"], "settings": {"Nice": "1\n[Unit]"}}}}, "cannot stand in a unit"),
        ({"units": {"a": {"command": ["x"], "settings": {"Nice": "${env:KEY}"}}}}, "process list"),
        ({"templates": {"a": {"template": "x.service"}}}, "pattern"),
    ],
)
def test_what_cannot_be_meant_is_refused_when_the_file_is_read(fields, words):
    with pytest.raises(ValidationError, match=words):
        Systemd.model_validate(fields)


def _last_reload(manager: Manager) -> str:
    said = manager.systemctl("show", "-p", "UnitsLoadTimestampMonotonic").strip()
    assert int(said.partition("=")[2]) > 0
    return said
