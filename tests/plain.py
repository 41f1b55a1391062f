"""A platform of the tests' own that runs plain processes, and hosts that are other addresses of this machine."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from tasks.domain.errors import RolloutFailed, Unreachable
from tasks.domain.ports import World
from tasks.domain.target import Target
from tasks.platforms import Instance, Platform, Running, Status
from tests.services import SCRIPT


class KilledError(BaseException):
    """Stands for a golive that is killed at this point: nothing of golive's own catches it."""


@dataclass
class Life:
    """What runs where, and when golive is to be killed: before its next act but ``acts_left``; None for never."""

    running: dict[tuple[Path, str], tuple[Instance, subprocess.Popen[bytes]]] = field(default_factory=dict)
    background: set[tuple[Path, str]] = field(default_factory=set)
    acts_left: int | None = None
    closed: bool = False

    def act(self) -> None:
        if self.acts_left is not None:
            self.acts_left -= 1
            if self.acts_left < 0:
                self.acts_left = None
                raise KilledError


class Plain(Platform):
    """Runs each instance as a process of the test."""

    kind: Literal["plain"] = "plain"
    """Which kind of platform this is."""
    life: Any
    """What the platforms of one test share."""
    fault: str = ""
    """The fault of what it starts."""

    def start(self, target: Target, instance: Instance) -> None:
        at = self._at(target, instance.slot)
        self.life.act()
        found = self.life.running.get(at)
        if found and found[1].poll() is None and found[0].version == instance.version:
            return
        self.stop(target, instance.slot)
        environment = {
            **os.environ,
            "VERSION": instance.version,
            "FAULT": self.fault,
            "BIND": getattr(target.world.host, "address", "127.0.0.1"),
        }
        process = subprocess.Popen(
            [sys.executable, str(SCRIPT), str(instance.port)], env=environment, stdout=subprocess.DEVNULL
        )
        self.life.running[at] = (instance, process)
        if self.fault == "exit":
            process.wait(10)
            raise RolloutFailed("it exited at once: cannot start", where=instance.slot)
        if instance.background:
            self.life.background.add(at)

    def stop(self, target: Target, slot: str) -> None:
        at = self._at(target, slot)
        self.life.act()
        self.life.background.discard(at)
        if found := self.life.running.pop(at, None):
            found[1].send_signal(signal.SIGTERM)
            try:
                found[1].wait(2)
            except subprocess.TimeoutExpired:
                found[1].kill()
                found[1].wait()

    def status(self, target: Target, slot: str) -> Status:
        found = self.life.running.get(self._at(target, slot))
        if self.life.closed:
            return Status(Running.UNKNOWN)
        if found is None:
            return Status(Running.DOWN)
        up = Running.UP if found[1].poll() is None else Running.DOWN
        return Status(up, found[0].version, found[0].port)

    def log(self, target: Target, slot: str, lines: int = 40) -> Sequence[str]:  # noqa: ARG002
        return []

    def background(self, target: Target, slot: str, *, run: bool) -> None:
        at = self._at(target, slot)
        self.life.act()
        (self.life.background.add if run else self.life.background.discard)(at)

    def close(self, target: Target) -> None:  # noqa: ARG002
        for _instance, process in self.life.running.values():
            process.kill()
            process.wait()
        self.life.closed = True

    def _at(self, target: Target, slot: str) -> tuple[Path, str]:
        target.world.host.exists(target.root)  # which a host that is away does not answer
        return target.root, slot


@dataclass
class Elsewhere:
    """A host of its own address on this machine, which may be away."""

    inner: Any
    address: str
    away: bool = False

    def __getattr__(self, name: str) -> Any:
        if self.away:
            raise Unreachable("no route to host", where=self.address)
        return getattr(self.inner, name)

    def port_is_free(self, port: int) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex((self.address, port)) != 0


@dataclass
class HttpThere:
    """HTTP as seen from such a host, whose own 127.0.0.1 is its address."""

    inner: Any
    host: Elsewhere

    def request(self, method: str, url: str, **given: Any) -> Any:
        if self.host.away:
            raise Unreachable("no route to host", where=self.host.address)
        return self.inner.request(method, url.replace("127.0.0.1", self.host.address), **given)


def elsewhere(world: World, address: str) -> World:
    """Return the world as seen from a host of that address."""
    host = Elsewhere(world.host, address)
    there: Any = HttpThere(world.http, host)
    far: Any = host
    return replace(world, host=far, http=there)
