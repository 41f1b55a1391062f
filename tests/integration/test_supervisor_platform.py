"""The platform supervisor, with a real supervisord and real processes."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from tasks.domain.errors import UserError
from tasks.domain.target import Target
from tasks.platforms import Instance, Running
from tasks.platforms._process import Process
from tasks.platforms.supervisor import Supervisor
from tests.services import free_port
from tests.sites import a_target, supervisor


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


@pytest.mark.parametrize("word", ["{dsn}", "--key=${env:KEY}"])
def test_a_command_with_a_secret_is_refused_when_the_file_is_read(word):
    with pytest.raises(ValidationError, match="process list"):
        Process(command=("app", word))


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
