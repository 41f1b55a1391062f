"""The platform compose, with a real Docker engine and both generations of Compose as far as they are installed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from typing import Any

import pytest
from pydantic import ValidationError

from tasks.domain.errors import (
    CommandFailed,
    Refused,
    ReleaseFileError,
    RolloutFailed,
    TimedOut,
    ToolMissing,
    Unreachable,
    UserError,
)
from tasks.domain.ports import Command
from tasks.domain.target import Target, Within
from tasks.platforms import Instance, Running, Status
from tasks.platforms._docker import Engine
from tasks.platforms.compose import Compose
from tests.engines import FILE, GENERATIONS, clear, compose, docker, require_generation
from tests.processes import running
from tests.services import free_port
from tests.sites import a_target

both = pytest.mark.parametrize("generation", GENERATIONS)


@pytest.fixture
def target(tmp_path, world, docker_engine):
    (tmp_path / "docker-compose.yml").write_text(FILE)
    yield replace(a_target(world, tmp_path), system="sys-" + os.urandom(3).hex())
    clear(docker_engine)


def _instance(target: Target, version: str = "v1", *, slot: str = "blue", background: bool = True) -> Instance:
    return Instance(slot, version, target.release_dir, free_port(), target.dsn, background=background)


def _containers(platform: Compose, target: Target, slot: str = "blue") -> dict[str, str]:
    """Return the id of each container of a slot that runs, by its service."""
    project = f"{target.system}-{slot}"
    told = docker(
        platform.engine, "ps", "--filter", f"label=com.docker.compose.project={project}",
        "--format", '{{.Label "com.docker.compose.service"}} {{.ID}}',
    )  # fmt: skip
    return dict(sorted(line.split() for line in told.splitlines()))


@both
def test_a_version_is_started_told_of_and_stopped(target, docker_engine, generation):
    require_generation(generation)
    platform = compose(docker_engine, compose=generation)
    assert platform.status(target, "blue").running is Running.DOWN
    platform.stop(target, "blue")
    platform.require_possible(target)
    first = _instance(target, background=False)
    platform.start(target, first)
    status = platform.status(target, "blue")
    assert (status.running, status.version, status.port) == (Running.UP, "v1", first.port)
    assert status.detail == {"web": "running, healthy"}
    assert target.world.http.request("GET", f"http://127.0.0.1:{first.port}/").body == b"v1"
    assert f"web: version v1 starts on {first.port}" in platform.log(target, "blue")

    made = _containers(platform, target)
    assert list(made) == ["web"]
    platform.start(target, first)
    assert _containers(platform, target) == made
    for _ in range(2):
        platform.background(target, "blue", run=True)
    assert list(_containers(platform, target)) == ["web", "worker"]
    assert _policies(docker_engine) == {"web": "unless-stopped", "worker": "always"}
    assert platform.status(target, "blue").detail == {"web": "running, healthy", "worker": "running"}
    for _ in range(2):
        platform.background(target, "blue", run=False)
    assert _containers(platform, target) == made
    assert _policies(docker_engine) == {"web": "unless-stopped", "worker": "no"}
    assert platform.status(target, "blue").running is Running.UP
    for _ in range(2):
        platform.stop(target, "blue")
    assert platform.status(target, "blue") == Status(Running.DOWN)
    assert target.world.host.port_is_free(first.port)
    assert docker(docker_engine, "ps", "-aq") == ""


def test_a_container_that_somebody_removed_is_told(target, docker_engine):
    platform = compose(docker_engine)
    platform.start(target, _instance(target, slot="green"))
    docker(docker_engine, "rm", "-f", _containers(platform, target, "green")["worker"])
    assert platform.status(target, "green").running is Running.DOWN
    assert platform.status(target, "green").detail["worker"] == "no container"


def _policies(address: str) -> dict[str, str]:
    told = docker(
        address, "inspect", "--format",
        '{{index .Config.Labels "com.docker.compose.service"}} {{.HostConfig.RestartPolicy.Name}}',
        *docker(address, "ps", "-aq").split(),
    )  # fmt: skip
    return dict(line.split() for line in told.splitlines())


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("exit", r"restarted \d+ times.*web: cannot start: bad password"),
        ("never_ready", "unhealthy.*check of health: "),
    ],
)
def test_what_does_not_come_up_fails_with_its_last_words_and_without_its_secrets(target, docker_engine, fault, words):
    platform = compose(docker_engine, variables={"FAULT": fault})
    with pytest.raises(RolloutFailed, match=f"(?s){words}") as caught:
        platform.start(target, _instance(target))
    assert "hidden-word" not in str(caught.value)
    assert _containers(platform, target) == {}
    assert platform.status(target, "blue").running is Running.DOWN
    assert not [line for line in platform.log(target, "blue") if "hidden-word" in line]
    well = _instance(target)
    compose(docker_engine).start(target, well)
    assert compose(docker_engine).status(target, "blue").running is Running.UP


def test_one_that_begins_to_fail_later_is_told_with_its_count(target, docker_engine):
    platform = compose(docker_engine, services={"web": "web"})
    platform.start(target, _instance(target))
    (web,) = _containers(platform, target).values()
    pid = int(docker(docker_engine, "inspect", "--format", "{{.State.Pid}}", web))
    os.kill(pid, signal.SIGKILL)
    end = time.monotonic() + 15
    while "restarted 1 times" not in (status := platform.status(target, "blue")).detail["web"]:
        assert time.monotonic() < end, status
        time.sleep(0.1)
    assert status.running is not Running.UP


def test_a_container_that_the_engine_does_not_update_between_two_starts_is_stopped_and_stays_so(
    target, docker_engine, monkeypatch
):
    platform = compose(docker_engine, services={"web": "web"})
    platform.start(target, _instance(target))
    (web,) = _containers(platform, target).values()
    run, refused = Engine.run, list[Any]()

    def refuse_once(engine: Engine, *words: str, **given: Any) -> Any:
        if words[0] == "update" and not refused:
            refused.append(words)
            raise CommandFailed("cannot update a stopped container: unknown")
        return run(engine, *words, **given)

    monkeypatch.setattr(Engine, "run", refuse_once)
    there = Engine(target.world.host, docker_engine)
    there.halt(there.containers(f"{target.system}-blue", ["web"]), 1.0)
    assert refused
    told = "{{.State.Running}} {{.HostConfig.RestartPolicy.Name}}"
    assert docker(docker_engine, "inspect", "--format", told, web) == "false no"


@both
def test_a_file_that_cannot_be_used_is_refused_before_anything_is_touched(target, docker_engine, generation):
    require_generation(generation)
    platform = compose(docker_engine, compose=generation)
    first = _instance(target, background=False)
    platform.start(target, first)
    made = _containers(platform, target)
    for text, words in {
        "services: {web: {imagee: x}}": "imagee",
        FILE.replace("${FAULT:-}", "${FAULT}${OTHER}"): "FAULT, OTHER are not set",
        FILE.replace("  web:", "  site:"): "no service web.*one of shared, site, worker",
    }.items():
        (target.release_dir / "docker-compose.yml").write_text(text)
        with pytest.raises(Refused, match=words) as caught:
            platform.require_possible(target)
        assert "hidden-word" not in str(caught.value)
    with pytest.raises(Refused, match="no service web"):
        platform.start(target, replace(first, version="v2"))
    (target.release_dir / "docker-compose.yml").write_text(FILE)
    if generation == "v2":  # v1 tells of services without regard to their profiles
        with pytest.raises(Refused, match=r"no service worker.*platform\.profiles"):
            compose(docker_engine, profiles=[]).require_possible(target)
    assert _containers(platform, target) == made
    with pytest.raises(RolloutFailed, match=r"(?i)pull"):
        compose(docker_engine, compose=generation, variables={"IMAGE": "127.0.0.1:1/none:1"}).start(
            target, _instance(target, slot="green")
        )
    assert platform.status(target, "green").running is Running.DOWN
    assert _containers(platform, target) == made


def test_secrets_are_in_no_label_argument_or_file_that_others_read(target, docker_engine, tmp_path):
    platform = compose(docker_engine, services={"web": "web"})
    platform.start(target, _instance(target))
    (web,) = _containers(platform, target).values()
    told = json.loads(docker(docker_engine, "inspect", web))[0]
    assert any("hidden-word" in variable for variable in told["Config"].pop("Env"))  # as the kind's docstring says
    assert "hidden-word" not in json.dumps(told)
    assert not [one.words for one in running() if "hidden-word" in one.words]
    home = tmp_path / "compose"
    assert home.stat().st_mode & 0o077 == 0
    assert not [path for path in home.rglob("*") if path.is_file() and path.stat().st_mode & 0o077]


MOUNTED = """
services:
  web:
    image: golive-test:base
    command: [/usr/bin/python3, -m, http.server, "80", --directory, /run/secrets]
    ports: ["127.0.0.1:${PORT}:80"]
    init: true
    secrets: [dsn]
secrets:
  dsn: {file: "${DSN_FILE}"}
"""


def test_a_secret_in_a_file_is_read_by_the_container_and_not_told_by_the_engine(target, docker_engine):
    (target.release_dir / "docker-compose.yml").write_text(MOUNTED)
    platform = compose(
        docker_engine, services={"web": "web"}, profiles=[], environment={"PORT": "{port}"},
        files={"DSN_FILE": "{dsn}"},
    )  # fmt: skip
    instance = _instance(target)
    platform.start(target, instance)
    url = f"http://127.0.0.1:{instance.port}/dsn"  # through a port that the engine publishes
    assert target.world.http.request("GET", url).body.decode() == target.dsn
    (web,) = _containers(platform, target).values()
    assert "hidden-word" not in docker(docker_engine, "inspect", web)
    platform.start(target, replace(instance, dsn="another"))
    assert target.world.http.request("GET", url, fresh=True).body == b"another"
    platform.stop(target, "blue")
    assert not list(target.root.rglob("DSN_FILE"))
    assert (
        docker(
            docker_engine, "network", "ls", "-q", "--filter", f"label=com.docker.compose.project={target.system}-blue"
        )
        == ""
    )


KILLED = """
import sys
from pathlib import Path
from tasks.adapters.host import LocalHost
from tasks.platforms import Instance
from tests.engines import compose
from tests.sites import a_target
from tests.conftest import world

class Dying(LocalHost):
    count = int(sys.argv[5])
    def run(self, command):
        done = super().run(command)
        Dying.count -= command.argv[:2] != ("docker", "version")
        if Dying.count == 0:
            import os, signal
            os.kill(os.getpid(), signal.SIGKILL)
        return done

from dataclasses import replace
at = a_target(replace(world.__wrapped__(), host=Dying()), Path(sys.argv[1]))
at = replace(at, system=sys.argv[2])
platform = compose(sys.argv[3])
platform.start(at, Instance("blue", "v2", at.release_dir, int(sys.argv[4]), at.dsn, background=True))
"""


@pytest.mark.parametrize("after", [8, 11])
def test_a_start_that_was_killed_goes_on_to_exactly_one_version(target, docker_engine, after):
    platform, instance = compose(docker_engine), _instance(target)
    platform.start(target, instance)
    words = (str(target.root), target.system, docker_engine, str(instance.port), str(after))
    died = subprocess.run([sys.executable, "-c", KILLED, *words], check=False, timeout=60, capture_output=True)
    assert died.returncode == -signal.SIGKILL, died.stderr.decode()
    for version in ("v2", "v1")[after % 2 :]:  # on and back, or back at once
        platform.start(target, replace(instance, version=version))
        assert (
            target.world.http.request("GET", f"http://127.0.0.1:{instance.port}/", fresh=True).body == version.encode()
        )
        assert list(_containers(platform, target)) == ["web", "worker"]
        assert _policies(docker_engine) == {"web": "unless-stopped", "worker": "always"}


def test_an_engine_that_is_away_is_unknown_and_not_down(target, docker_engine, tmp_path):
    platform = compose(docker_engine, services={"web": "web"})
    platform.start(target, _instance(target))
    away = platform.model_copy(update={"engine": f"unix://{tmp_path}/none"})
    status = away.status(target, "blue")
    assert (status.running, status.version) == (Running.UNKNOWN, "v1")
    for act in (away.require_possible, lambda at: away.stop(at, "blue")):
        with pytest.raises(Unreachable, match="the Docker engine does not answer"):
            act(target)
    assert platform.status(target, "blue").running is Running.UP


def test_without_docker_or_the_wanted_compose_the_missing_program_is_named(
    target, docker_engine, monkeypatch, tmp_path
):
    monkeypatch.setattr(type(target.world.host), "which", lambda *_: None)
    with pytest.raises(ToolMissing, match="docker is not installed"):
        compose(docker_engine).require_possible(target)
    with pytest.raises(ToolMissing, match="there is no docker-compose"):
        compose(docker_engine, compose="v1").start(target, _instance(target))


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"services": {}}, "at least 1"),
        ({"file": "{dsn}"}, "process list"),
        ({"project": "${env:X}"}, "process list"),
        ({"environment": {"A": "1"}, "files": {"A": "1"}}, "A stands in environment and in files"),
        ({"environment": {"A-B": "1"}}, "pattern"),
    ],
)
def test_what_cannot_be_meant_is_refused_when_the_file_is_read(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        Compose.model_validate({"services": {"web": "web"}} | fields)


def test_a_project_that_compose_would_rename_is_refused(target, docker_engine):
    with pytest.raises(UserError, match="cannot be a Compose project"):
        compose(docker_engine, project="Shop").start(target, _instance(target))


def _secret(script: str, *, timeout: float = 20.0) -> Command:
    words = ("/bin/sh", "-c", script)
    return Command(words, secret_env={"TOKEN": "hidden-word"}, timeout=timeout, ok_exit=tuple(range(128)))


@both
def test_commands_run_in_the_container_that_runs_and_in_one_of_their_own(target, docker_engine, generation):
    require_generation(generation)
    platform = compose(docker_engine, compose=generation, services={"web": "web"}, files={"FAULT": "{dsn}"})
    version = target.at(version="v2")
    platform.start(target, _instance(target))
    made = _containers(platform, target)
    in_it, own = (Within("web"), target.at(slot="blue"), "v1"), (Within("web", one_off=True), version, "v2")
    for within, at, seen in (in_it, own):
        platform.require_within(within)
        ran = platform.run(at, within, _secret("echo $VERSION ${#TOKEN}; echo beside >&2; exit 3"))
        assert (ran.exit_code, ran.stdout, "beside" in ran.stderr) == (3, f"{seen} 11\n", True)
        with pytest.raises(CommandFailed, match="exit code 4: wrong: •••") as failed:
            platform.run(at, within, replace(_secret("echo wrong: $TOKEN; exit 4"), ok_exit=(0,)))
        assert "hidden-word" not in f"{failed.value!r} {failed.value.__context__!r}"
        with pytest.raises((ToolMissing, CommandFailed), match="no-such-program"):
            platform.run(at, within, Command(("no-such-program",)))
    with pytest.raises(Unreachable, match="no container of it runs"):
        platform.run(target.at(slot="green"), Within("web"), _secret("true"))
    with pytest.raises(ReleaseFileError, match="no service 'shared'"):
        platform.require_within(Within("shared"))
    # The code is there only for what runs in it, and what ran out of its time leaves no container behind.
    below = replace(_secret("[ -r docker-compose.yml ] && ! (: > here)"), cwd=version.release_dir)
    ended = platform.run(version, Within("web", one_off=True), below)
    assert ended.exit_code == 0, ended
    with pytest.raises(TimedOut):
        platform.run(version, Within("web", one_off=True), _secret("exec sleep 600", timeout=4))
    assert docker(docker_engine, "ps", "--all", "--quiet", "--no-trunc").split() == [
        docker(docker_engine, "inspect", "--format", "{{.Id}}", made["web"])
    ]
    assert target.world.host.list(target.root / "compose") == ["blue", "blue.json"]
