from __future__ import annotations

import socket
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import ValidationError

from tasks.adapters.secrets import SecretStore
from tasks.checks.command import Command
from tasks.checks.disk import Disk
from tasks.checks.environment import Environment
from tasks.checks.port_free import PortFree
from tasks.domain.errors import CommandFailed, TimedOut, ToolMissing
from tasks.domain.outcome import Outcome
from tasks.domain.ports import World
from tasks.domain.target import Target
from tests.looks import look

P, F, U = Outcome.PASSED, Outcome.FAILED, Outcome.UNKNOWN
KEY = "Zk3-a-key-of-some-length"


@pytest.fixture
def target(world: World, tmp_path: Path) -> Target:
    world = replace(world, secrets=SecretStore({"KEY": KEY, "DEFAULT": "ChangeMe", "EMPTY": ""}))
    return Target(world, "demo", "v2", root=tmp_path, release_dir=tmp_path, dsn="postgresql://u:a-long-word@h/d")


def test_a_command_is_judged_by_its_end_and_its_output(target, tmp_path):
    script = "import os, sys; print(os.getcwd()); print('7 passed'); sys.exit(3)"
    reading = look(Command, target, argv=["{python}", "-c", script], exit_code=3, pattern=r"^\d+ passed$")
    assert reading.outcome is P
    assert reading.detail["last_lines"] == [str(tmp_path), "7 passed"]
    reading = look(Command, target, argv=["{python}", "-c", script], not_pattern="passed")
    assert reading.seen == "exit code 3 = 0: failed; no passed in the output: failed"


def test_a_command_killed_by_a_signal_fails(target):
    reading = look(Command, target, argv=["{python}", "-c", "import os; os.kill(os.getpid(), 9)"])
    assert reading.seen == "exit code -9 = 0: failed"


def test_a_command_gets_secrets_by_its_environment_and_they_are_not_shown(target):
    show = ["{python}", "-c", "import os; print(os.environ['KEY'], os.environ['URL'], os.environ['PLAIN'])"]
    reading = look(
        Command, target, argv=show, environment={"KEY": "${env:KEY}", "URL": "{dsn}", "PLAIN": "v={version}"}
    )
    assert reading.outcome is P
    assert "a-long-word" not in repr(reading)
    assert KEY not in repr(reading)
    assert "v=v2" in repr(reading)


@pytest.mark.parametrize("argument", ["${env:KEY}", "--dsn={dsn}"])
def test_a_secret_in_an_argv_is_refused_when_the_file_is_read(argument):
    with pytest.raises(ValidationError, match="process list"):
        Command.model_validate({"name": "it", "argv": ["psql", argument]})


def test_a_command_that_does_not_end_or_is_not_there_is_no_failure_of_the_target(target):
    with pytest.raises(TimedOut):
        look(Command, target, argv=["sleep", "30"], timeout="200ms")
    with pytest.raises(ToolMissing):
        look(Command, target, argv=["no-such-program"])


@pytest.mark.parametrize(
    ("fields", "outcome", "seen"),
    [
        ({"variables": ["KEY"], "min_length": 10, "pattern": "[A-Za-z0-9-]+"}, P, "KEY ~ [A-Za-z0-9-]+"),
        ({"variables": ["KEY"], "min_length": 32}, F, "KEY has 24 characters ≥ 32: failed"),
        ({"variables": ["KEY"], "pattern": r"\d+"}, F, r"KEY ~ \d+: failed"),
        ({"variables": ["DEFAULT"], "not": ["changeme"]}, F, "DEFAULT is one of the values that are refused: failed"),
        ({"variables": ["EMPTY", "KEY", "NONE"]}, F, "EMPTY is not set: failed; NONE is not set: failed"),
    ],
)
def test_variables_are_judged_and_never_shown(target, fields, outcome, seen):
    reading = look(Environment, target, **fields)
    assert (reading.outcome, reading.seen) == (outcome, seen)
    assert KEY not in repr(reading)


def test_variables_are_read_from_a_file_as_shells_and_compose_write_it(target, tmp_path):
    Path(tmp_path, ".env").write_text(
        "# KEY=no\nexport A='one # two'\nB = three  # a remark\nC=\nD=\"x\" # remark\nE=a=b#c\n"
    )

    def is_exactly(name: str, pattern: str) -> Outcome:
        return look(Environment, target, variables=[name], pattern=pattern, file="{root}/.env").outcome

    for name, value in {"A": "one # two", "B": "three", "D": "x", "E": "a=b#c"}.items():
        assert is_exactly(name, value) is P, name
    assert look(Environment, target, variables=["C"], file="{root}/.env").seen == "C is empty: failed"
    assert look(Environment, target, variables=["KEY"], file="{root}/.env").outcome is F
    assert look(Environment, target, variables=["KEY"], file="{root}/none").outcome is U


def test_a_port_that_something_listens_on_is_taken(target):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        reading = look(PortFree, target, ports=[1, port])
        assert (reading.outcome, reading.seen) == (F, f"port {port} is taken: failed")
    assert look(PortFree, target, ports=[port]).outcome is P


def test_the_room_of_a_directory_that_is_not_there_yet_is_that_of_its_parent(target, tmp_path):
    reading = look(Disk, target, path="{root}/backups/new", free="1kB")
    available = subprocess.run(["df", "-B1", "--output=avail", tmp_path], capture_output=True, text=True, check=True)
    assert reading.outcome is P
    assert reading.value == pytest.approx(int(available.stdout.split()[1]), rel=0.05)
    assert look(Disk, target, free="1000000TB").outcome is F
    assert look(Disk, target, free_share="0.01%").outcome is P
    assert look(Disk, target, free_share="99.99%").seen.endswith("% ≥ 99.99 %: failed")
    with pytest.raises(CommandFailed):
        look(Disk, target, path="{root}/none", free_share="1%")
