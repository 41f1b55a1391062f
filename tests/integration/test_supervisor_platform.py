"""The platform supervisor, with a real supervisord and real processes."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import pytest
from pydantic import ValidationError

from tasks.domain.errors import RolloutFailed, UserError
from tasks.domain.target import Target
from tasks.platforms import Instance, Running
from tasks.platforms.supervisor import Process, Supervisor
from tests.processes import running
from tests.services import SCRIPT, free_port
from tests.sites import a_target, supervisor

NASTY = {
    "PERCENT": "100%s %(here)s %%",
    "QUOTES": """it's "quoted" at the end"'""",
    "COMMENT": "a ;b #c",
    "LINES": "one\n  two\n",
    "COMMAS": "A=1,B='2'",
    "DOLLAR": "$HOME `id` \\ \\n $(id)",
    "SPACES": "  around  ",
    "EMPTY": "",
    "UMLAUT": "grün ✓",
}


@pytest.fixture
def target(tmp_path, world):
    return a_target(world, tmp_path)


@pytest.fixture
def close(target):
    """Collect what is to be ended after the test."""
    platforms: list[tuple[Supervisor, Target]] = []
    yield platforms.append
    for platform, at in platforms:
        platform.close(at)


def _start(
    platform: Supervisor, target: Target, slot: str = "blue", version: str = "v1", *, background: bool = True
) -> int:
    port = free_port()
    platform.start(target, Instance(slot, version, target.release_dir, port, target.dsn, background=background))
    return port


def _pids(target: Target, platform: Supervisor, slot: str) -> dict[str, str]:
    """Return the process ids by name, as supervisorctl shows them."""
    home = platform._home(target)
    lines = platform._ctl(target, home, "status", ok_exit=(0, 3)).stdout.splitlines()
    return {row[0]: row[3].rstrip(",") for row in map(str.split, lines) if row[0].startswith(slot)}


def test_it_starts_says_what_runs_and_stops(target, close):
    platform = supervisor()
    close((platform, target))
    assert platform.status(target, "blue").running is Running.DOWN
    port = _start(platform, target)
    status = platform.status(target, "blue")
    assert (status.running, status.version, status.port) == (Running.UP, "v1", port)
    assert "version v1 starts" in platform.log(target, "blue")[-1]
    platform.stop(target, "blue")
    platform.stop(target, "blue")
    assert platform.status(target, "blue").running is Running.DOWN
    assert platform.status(target, "blue").version == ""
    assert target.world.host.port_is_free(port)


def test_starting_the_same_again_leaves_the_process_alone(target, close):
    platform = supervisor()
    close((platform, target))
    port = free_port()
    for _ in range(2):
        platform.start(target, Instance("blue", "v1", target.release_dir, port, target.dsn))
        pids = _pids(target, platform, "blue")
    platform.start(target, Instance("blue", "v1", target.release_dir, port, target.dsn))
    assert _pids(target, platform, "blue") == pids
    platform.start(target, Instance("blue", "v2", target.release_dir, port, target.dsn))
    assert _pids(target, platform, "blue") != pids
    assert platform.status(target, "blue").version == "v2"


def test_one_slot_is_not_disturbed_by_another(target, close):
    platform = supervisor()
    close((platform, target))
    _start(platform, target, "blue")
    pids = _pids(target, platform, "blue")
    _start(platform, target, "green", "v2")
    platform.stop(target, "green")
    assert _pids(target, platform, "blue") == pids


def test_every_value_reaches_the_environment_unchanged(target, close):
    platform = supervisor(web={"environment": NASTY})
    close((platform, target))
    port = _start(platform, target)
    time.sleep(0.3)
    seen = json.loads(target.world.http.request("GET", f"http://127.0.0.1:{port}/env").body)
    assert {name: seen.get(name) for name in NASTY} == NASTY


def test_secrets_are_in_files_of_their_owner_only_and_not_in_the_process_list(target, close, tmp_path):
    platform = supervisor()
    close((platform, target))
    _start(platform, target)
    home = tmp_path / "supervisor"
    open_to_others = {path.name for path in home.rglob("*") if path.stat().st_mode & 0o077}
    assert open_to_others == set()
    assert home.stat().st_mode & 0o077 == 0
    processes = [one.words for one in running()]
    assert any(str(SCRIPT) in words for words in processes)
    assert not [words for words in processes if "hidden-word" in words]


@pytest.mark.parametrize("word", ["{dsn}", "--key=${env:KEY}"])
def test_a_command_with_a_secret_is_refused_when_the_file_is_read(word):
    with pytest.raises(ValidationError, match="process list"):
        Process(command=("app", word))


def test_what_exits_at_once_fails_with_its_last_words_and_without_its_secrets(target, close):
    platform = supervisor(web={"environment": {"FAULT": "exit", "DSN": "{dsn}"}})
    close((platform, target))
    with pytest.raises(RolloutFailed, match="cannot start: bad password") as caught:
        _start(platform, target)
    assert "hidden-word" not in str(caught.value)
    assert platform.status(target, "blue").running is Running.DOWN


def test_what_ignores_sigterm_is_killed_after_its_grace(target, close):
    platform = supervisor(web={"environment": {"FAULT": "ignore_term"}, "stop_wait": "1s"})
    close((platform, target))
    port = _start(platform, target)
    begun = time.monotonic()
    platform.stop(target, "blue")
    assert 0.9 < time.monotonic() - begun < 8
    assert target.world.host.port_is_free(port)


def test_what_dies_is_started_again(target, close):
    platform = supervisor()
    close((platform, target))
    _start(platform, target)
    (pid,) = _pids(target, platform, "blue").values()
    os.kill(int(pid), signal.SIGKILL)
    end = time.monotonic() + 10
    while platform.status(target, "blue").running is not Running.UP and time.monotonic() < end:
        time.sleep(0.2)
    assert platform.status(target, "blue").running is Running.UP
    assert _pids(target, platform, "blue") != {"blue:blue-web": pid}


def test_background_processes_start_and_stop_apart_from_the_web(target, close):
    platform = supervisor(worker={"role": "background", "command": ["sleep", "1000"]})
    close((platform, target))
    _start(platform, target, background=False)
    web = _pids(target, platform, "blue")
    assert list(web) == ["blue:blue-web"]
    for _ in range(2):
        platform.background(target, "blue", run=True)
    assert len(_pids(target, platform, "blue")) == 2
    for _ in range(2):
        platform.background(target, "blue", run=False)
    assert _pids(target, platform, "blue") == web


def test_a_supervisord_that_was_shut_down_is_unknown_or_down_and_starts_again(target, close):
    platform = supervisor()
    close((platform, target))
    port = _start(platform, target)
    platform.close(target)
    assert target.world.host.port_is_free(port)
    assert platform.status(target, "blue").running is Running.UNKNOWN
    platform.start(target, Instance("blue", "v1", target.release_dir, port, target.dsn))
    assert platform.status(target, "blue").running is Running.UP


def test_a_long_path_gets_a_short_socket(tmp_path, close, world):
    root = tmp_path / ("long" * 30)
    target = a_target(world, root)
    root.mkdir()
    platform = supervisor()
    close((platform, target))
    _start(platform, target)
    recorded = (root / "supervisor" / "socket").read_text()
    assert len(recorded) < 90
    assert platform.status(target, "blue").running is Running.UP
    platform.close(target)
    assert not Path(recorded).parent.exists()


def test_a_directory_that_its_configuration_cannot_express_is_refused(tmp_path, world):
    with pytest.raises(UserError, match="cannot be supervisor's directory"):
        supervisor().status(a_target(world, tmp_path / "a ;b"), "blue")
