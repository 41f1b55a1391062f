"""Each kind of platform, ready to run the small service; a new kind joins by a function in `STANDS`."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tasks.domain.ports import World
from tasks.domain.target import Target
from tasks.platforms import Instance, Platform
from tasks.platforms.command import Command
from tasks.platforms.systemd import Systemd
from tests import engines
from tests.managers import Manager
from tests.processes import running
from tests.services import SCRIPT, free_port
from tests.sites import a_target, supervisor

COMMON = {"VERSION": "{version}", "DSN": "{dsn}"}
"""The environment of the small service on every platform."""

WEB = {"command": ["{python}", str(SCRIPT), "{port}"], "environment": COMMON, "stop_wait": "2s"}
WORKER = {"command": ["sleep", "1000.{port}"], "role": "background", "stop_wait": "2s"}
"""A background process that can be told by its port from those of other tests."""

CONTROL = Path(__file__).with_name("control.sh")


def service_pids(port: int) -> list[int]:
    """Return the processes of the small service on a port."""
    return [one.pid for one in running() if f"{SCRIPT} {port} " in f"{one.words} "]


def worker_pids(port: int) -> list[int]:
    """Return the background processes of the instance on a port."""
    return [one.pid for one in running() if f"1000.{port} " in f"{one.words} "]


@dataclass
class Stand:
    """A kind of platform, made by ``make`` from the service's further environment.

    ``web`` and ``worker`` return the ids of its processes for a port; ``restarts`` tells whether the platform starts
    again what has ended, ``has_containers`` whether commands run within its services.
    """

    target: Target
    make: Callable[[Mapping[str, str]], Platform]
    web: Callable[[int], list[int]] = service_pids
    worker: Callable[[int], list[int]] = worker_pids
    restarts: bool = True
    has_containers: bool = False
    started: list[tuple[Platform, str]] = field(default_factory=list)

    def start(
        self, slot: str = "blue", version: str = "v1", port: int = 0, *, background: bool = False, **environment: str
    ) -> tuple[Platform, int]:
        """Start a version of the service, and return the platform and the port."""
        platform, port = self.make(environment), port or free_port()
        self.started.append((platform, slot))
        target = self.target.at(version=version)
        platform.start(target, Instance(slot, version, target.release_dir, port, target.dsn, background=background))
        return platform, port

    def end(self) -> None:
        """Stop all that was started."""
        for platform, slot in self.started:
            platform.stop(self.target, slot)
        for platform, _ in self.started:
            platform.close(self.target)


@contextmanager
def _supervisor(root: Path, world: World, part: Callable[[str], Any]) -> Iterator[Stand]:
    def make(environment: Mapping[str, str]) -> Platform:
        return supervisor(web={"environment": {**COMMON, **environment}}, worker=WORKER)

    yield Stand(a_target(world, root), make)


def systemd(manager: Manager, environment: Mapping[str, str], **fields: object) -> Systemd:
    """Return a platform that runs the small service under a systemd of the tests' own."""
    units = {"web": WEB | {"environment": {**COMMON, **environment}}, "worker": WORKER}
    where = {"directory": str(manager.directory / "units"), "prefix": manager.prefix}
    return Systemd.model_validate({"units": units} | where | fields)


@contextmanager
def _systemd(root: Path, world: World, part: Callable[[str], Any]) -> Iterator[Stand]:
    manager = part("systemd_manager")
    yield Stand(a_target(world, root), lambda environment: systemd(manager, environment))


@contextmanager
def _command(root: Path, world: World, part: Callable[[str], Any]) -> Iterator[Stand]:
    yield Stand(a_target(world, root), lambda environment: command(environment), restarts=False)


def command(environment: Mapping[str, str], **commands: object) -> Command:
    """Return a platform that runs the small service by a shell script."""
    verbs = ("start", "stop", "status", "version", "log", "background_start", "background_stop")
    words = {verb: ["/bin/sh", str(CONTROL), verb, "{root}", "{slot}", "{port}", "{python}"] for verb in verbs}
    return Command.model_validate(
        {
            "commands": words | commands,
            "environment": {**COMMON, **environment},
            "start_within": "10s",
            "stop_within": "10s",
        }
    )


@contextmanager
def _compose(root: Path, world: World, part: Callable[[str], Any]) -> Iterator[Stand]:
    address = part("docker_engine")

    def make(environment: Mapping[str, str]) -> Platform:
        passed_on = ", ".join(f'{name}: "${{{name}}}"' for name in environment)
        text = engines.FILE.replace('FAULT: "${FAULT:-}"', passed_on).replace('"1000"', '"1000.${PORT}"')
        (root / "docker-compose.yml").write_text(text)
        return engines.compose(address, variables=dict(environment))

    def web(port: int) -> list[int]:
        return [one.pid for one in running() if one.words.startswith(f"/usr/bin/python3 /service.py {port} ")]

    def worker(port: int) -> list[int]:
        return [one.pid for one in running() if one.words.startswith(f"/bin/sleep 1000.{port} ")]

    target = replace(a_target(world, root), system="sys-" + secrets.token_hex(3))
    yield Stand(target, make, web, worker, has_containers=True)
    engines.clear(address)


STANDS: dict[str, Callable[[Path, World, Callable[[str], Any]], AbstractContextManager[Stand]]] = {
    "supervisor": _supervisor,
    "systemd": _systemd,
    "command": _command,
    "compose": _compose,
}
"""By kind: gets a directory, the world, and a function that returns a shared fixture by its name."""
