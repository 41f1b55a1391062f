"""What holds of every kind of platform, shown on real processes."""

from __future__ import annotations

import json
import os
import pkgutil
import signal
import time
from contextlib import ExitStack

import pytest

from tasks import platforms
from tasks.domain.errors import ReleaseFileError, RolloutFailed
from tasks.domain.ports import Command
from tasks.domain.target import Within
from tasks.platforms import Running
from tasks.rollouts import Ready, Site
from tasks.rollouts.blue_green import BlueGreen
from tests.managers import comes
from tests.platforms import STANDS
from tests.processes import running
from tests.services import Clients, free_port
from tests.sites import WAYS

KINDS = sorted(info.name for info in pkgutil.iter_modules(platforms.__path__) if not info.name.startswith("_"))

NASTY = {
    "PERCENT": "100%s %(here)s %% %n",
    "QUOTES": """it's "quoted" at the end"'""",
    "COMMENT": "a ;b #c",
    "LINES": "one\n  two\n",
    "COMMAS": "A=1,B='2'",
    "DOLLAR": "$HOME ${HOME} `id` \\ \\n $(id)",
    "SPACES": "  around  ",
    "EMPTY": "",
    "UMLAUT": "grün ✓",
}


@pytest.fixture(params=KINDS)
def stand(request, tmp_path, world):
    with STANDS[request.param](tmp_path, world, request.getfixturevalue) as found, ExitStack() as stack:
        stack.callback(found.end)
        yield found


def test_every_kind_of_platform_is_tested():
    assert set(STANDS) == set(KINDS)


def test_it_hands_over_other_values_of_the_variables_that_it_has_and_no_others(stand):
    platform = stand.make({"QUEUE": "production", "MAIL": "on"})
    assert {"QUEUE", "MAIL"} <= platform.variables()
    other, changed = (
        stand.make({"QUEUE": "rehearsal", "MAIL": "on"}),
        platform.given({"QUEUE": "rehearsal", "OTHER": "1"}),
    )
    assert changed.model_dump() == other.model_dump()
    assert platform.given({}) == platform, "nor does it lose what keeps two threads from each other"


def test_it_starts_says_what_runs_replaces_and_stops(stand):
    target = stand.target
    platform, port = stand.start()
    status = platform.status(target, "blue")
    assert (status.running, status.version, status.port) == (Running.UP, "v1", port)
    assert any("version v1 starts" in line for line in platform.log(target, "blue"))
    first = stand.web(port)
    assert len(first) == 1

    stand.start(port=port)
    assert stand.web(port) == first, "starting the same again touches nothing"
    assert platform.status(target, "blue") == status

    _, other = stand.start("green", "v2")
    platform.stop(target, "green")
    assert stand.web(port) == first, "another slot is not disturbed"
    assert target.world.host.port_is_free(other)

    stand.start(version="v2", port=port)
    assert stand.web(port) != first
    assert platform.status(target, "blue").version == "v2"

    platform.stop(target, "blue")
    platform.stop(target, "blue")
    assert platform.status(target, "blue").running is Running.DOWN
    assert platform.status(target, "blue").version == ""
    assert platform.log(target, "never used") == []
    assert target.world.host.port_is_free(port)


def test_a_command_runs_within_a_service_or_the_platform_says_that_it_has_no_containers(stand):
    platform, _ = stand.start(LABEL="within")
    at, command = stand.target.at(slot="blue"), Command(("/bin/sh", "-c", "echo $LABEL $GIVEN"), env={"GIVEN": "too"})
    for within in (Within("web"), Within("web", one_off=True)):
        if stand.has_containers:
            platform.require_within(within)
            assert platform.run(at, within, command).stdout == "within too\n"
            continue
        for act in (lambda: platform.require_within(within), lambda: platform.run(at, within, command)):  # noqa: B023
            with pytest.raises(ReleaseFileError, match=f"the platform {platform.kind} has no containers"):
                act()


def test_every_value_reaches_the_environment_and_no_secret_is_shown(stand, tmp_path):
    _, port = stand.start(**NASTY)
    assert comes(lambda: not stand.target.world.host.port_is_free(port))
    seen = json.loads(stand.target.world.http.request("GET", f"http://127.0.0.1:{port}/env").body)
    assert {name: seen.get(name) for name in NASTY} == NASTY
    assert "hidden-word" in seen["DSN"]
    assert not [one.words for one in running() if "hidden-word" in one.words]
    holding = [path for path in tmp_path.rglob("*") if path.is_file() and b"hidden-word" in path.read_bytes()]
    assert {path.name for path in holding if path.stat().st_mode & 0o077} == set()


def test_what_exits_at_once_fails_with_its_last_words_and_without_its_secrets(stand):
    with pytest.raises(RolloutFailed, match="cannot start: bad password") as caught:
        stand.start(FAULT="exit")
    assert "hidden-word" not in str(caught.value)
    platform, slot = stand.started[-1]
    assert platform.status(stand.target, slot).running is Running.DOWN


def test_what_ignores_sigterm_is_killed_after_its_grace(stand):
    platform, port = stand.start(FAULT="ignore_term")
    begun = time.monotonic()
    platform.stop(stand.target, "blue")
    assert time.monotonic() - begun > 1.0, "it had its time"
    assert stand.web(port) == []
    assert stand.target.world.host.port_is_free(port)


def test_what_dies_is_seen_and_started_again_if_the_platform_does_that(stand):
    platform, port = stand.start()
    (pid,) = stand.web(port)
    os.kill(pid, signal.SIGKILL)
    if not stand.restarts:
        assert comes(lambda: platform.status(stand.target, "blue").running is Running.DOWN)
        stand.start(port=port)
    assert comes(lambda: not stand.target.world.host.port_is_free(port))
    assert comes(lambda: platform.status(stand.target, "blue").running is Running.UP)
    assert pid not in stand.web(port)


def test_background_processes_start_and_stop_apart_from_the_web(stand):
    platform, port = stand.start(background=False)
    web = stand.web(port)
    assert stand.worker(port) == []
    for _ in range(2):
        platform.background(stand.target, "blue", run=True)
        (worker,) = stand.worker(port)
    stand.start(port=port)
    assert stand.worker(port) == [worker]
    for _ in range(2):
        platform.background(stand.target, "blue", run=False)
    assert (stand.web(port), stand.worker(port)) == (web, [])
    platform.background(stand.target, "never used", run=True)
    platform.background(stand.target, "blue", run=True)
    platform.stop(stand.target, "blue")
    assert (stand.web(port), stand.worker(port)) == ([], [])


@pytest.mark.parametrize("stand", [kind for kind in KINDS if kind != "supervisor"], indirect=True)
def test_blue_green_on_it_loses_no_request_forward_and_back(stand, tmp_path, world):
    """On supervisor the contract of the rollouts shows it."""
    ready = Ready.model_validate({"within": "10s", "every": "50ms"})
    rollout = BlueGreen(ready=ready, drain=0.1, ports=(free_port(), free_port()))
    with WAYS["embedded"](tmp_path, world) as way:

        def go(version: str) -> None:
            platform = stand.make({})
            stand.started += [(platform, slot) for slot in ("blue", "green")]
            site = Site(stand.target.at(version=version), platform, way.router)
            for step in rollout.steps(site, version):
                step.act()
            assert rollout.serving(site) == version
            assert [len(stand.worker(port)) for port in rollout.ports].count(1) == 1

        go("v1")
        with Clients(way.port, resend=way.resend) as clients:
            go("v2")
            go("v1")
            clients.until(clients.total + 100)
        assert clients.lost == []
        assert set(clients.answers) == {"v1", "v2"}
