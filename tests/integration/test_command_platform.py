"""The platform command, with a shell script as many teams have one."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from tasks.domain.errors import CommandFailed, RolloutFailed
from tasks.domain.target import Target
from tasks.platforms import Instance, Running
from tasks.platforms.command import Command
from tests.platforms import command, service_pids
from tests.services import free_port
from tests.sites import a_target


@pytest.fixture
def target(tmp_path, world):
    return a_target(world, tmp_path)


def _start(platform: Command, target: Target, version: str = "v1") -> int:
    port = free_port()
    platform.start(target, Instance("blue", version, target.release_dir, port, target.dsn))
    return port


def test_what_was_started_is_held_against_what_runs(target, tmp_path):
    platform = command({})
    port = _start(platform, target)
    try:
        (tmp_path / "blue.version").write_text("v7\n")
        status = platform.status(target, "blue")
        assert (status.running, status.version) == (Running.UP, "v7")
        assert status.detail["version"] == "v7 is said, v1 is on record"
        assert command({}, version=["false"]).status(target, "blue").running is Running.UNKNOWN
        for code, running in ((0, Running.UP), (3, Running.DOWN), (1, Running.UNKNOWN), (4, Running.UNKNOWN)):
            said = command({}, status=["/bin/sh", "-c", f"exit {code}"], version=None).status(target, "blue")
            assert (said.running, said.version, said.port) == (running, "v1", port)
        assert command({}, log=["false"]).log(target, "blue") == ["the command log failed: exit code 1"]
        assert command({}, log=None).log(target, "blue") == []
        with pytest.raises(RolloutFailed, match="after the command stop, status ended with exit code 0"):
            command({}, stop=["true"]).model_copy(update={"stop_within": 0.3}).stop(target, "blue")
        assert service_pids(port), "a slot that did not stop stays on record"
    finally:
        platform.stop(target, "blue")
    assert service_pids(port) == []
    assert platform.status(target, "blue").running is Running.DOWN


def test_a_start_that_brings_up_another_version_is_undone(target):
    with pytest.raises(RolloutFailed, match="version v0 runs; expected version v1"):
        _start(command({}, version=["echo", "v0"]), target)
    assert command({}).status(target, "blue").running is Running.DOWN


def test_a_start_that_fails_shows_its_words_without_its_secrets(target):
    platform = command({}, start=["/bin/sh", "-c", 'echo "no entry with $DSN" >&2; exit 5'], stop=["true"])
    with pytest.raises(RolloutFailed, match="exit code 5") as caught:
        _start(platform, target)
    assert "no entry with" in str(caught.value)
    assert "hidden-word" not in f"{caught.value} {caught.value.__cause__}"
    assert isinstance(caught.value.__cause__, CommandFailed)


def test_a_start_that_never_comes_up_is_given_up(target):
    platform = command({}, start=["true"]).model_copy(update={"start_within": 0.3})
    with pytest.raises(RolloutFailed, match="status ended with exit code 3; expected exit code 0 within"):
        _start(platform, target)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"commands": {"background_start": ["x"]}}, "go together"),
        ({"up": [0, 3]}, "exit code 3 cannot mean both"),
        ({"commands": {"log": ["cat", "${env:KEY}"]}}, "process list"),
    ],
)
def test_what_cannot_be_meant_is_refused_when_the_file_is_read(fields, words):
    commands = {"start": ["x"], "stop": ["x"], "status": ["x"]} | fields.pop("commands", {})
    with pytest.raises(ValidationError, match=words):
        Command.model_validate({"commands": commands} | fields)
