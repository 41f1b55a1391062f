"""A watch whose processes can be killed: cheap ones, forked from one that imported golive, or all of ``golive up``.

As a scheduler does, the cheap one begins a sweep a moment after the last one has ended; guards it starts when
`start_guard` asks. With Prefect its server, scheduler and worker start the sweeps, and supervisor starts those again.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

NURSERY = """
import asyncio, os, pathlib, select, signal, sys, threading, traceback
from flows.guard import guard_anyway
from flows.monitor import monitor_anyway
from tasks import desk, guarding
from tasks.adapters.host import LocalHost

guarding.READ_EVERY = 0.3
home = pathlib.Path(sys.argv[1])
asked, asking = os.pipe()
spawn = LocalHost.spawn


def spawning(self, command, log):
    if command.argv[-1] != "guard":
        return spawn(self, command, log)
    os.write(asking, b"g")
    return os.getpid()


LocalHost.spawn = spawning
assert threading.active_count() == 1, threading.enumerate()
alive = {}


def fork(name, flow):
    pid = os.fork()
    if pid:
        alive[pid] = name
        (home / f"{name}.pid").write_text(str(pid))
        return
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    try:
        asyncio.run(flow())
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


while True:
    ready, _, _ = select.select([asked, sys.stdin], [], [], 0.2)
    if asked in ready:
        for _ in os.read(asked, 64):
            fork("guard", guard_anyway)
    if sys.stdin in ready:
        break
    while alive and (ended := os.waitpid(-1, os.WNOHANG)[0]):
        alive.pop(ended, None)
    if "sweep" not in alive.values():
        fork("sweep", monitor_anyway)
for pid in alive:
    os.kill(pid, signal.SIGKILL)
"""


class WatchNursery:
    """Knows the processes that were started last."""

    def __init__(self, home: Path) -> None:
        self._home = home

    def kill(self, name: str) -> bool:
        """Kill the newest ``guard`` or ``sweep`` as nothing can catch it; return whether there was one."""
        with suppress(OSError, ValueError):
            pid = int((self._home / f"{name}.pid").read_text())
            os.kill(pid, signal.SIGKILL)
            return True
        return False

    @property
    def said(self) -> str:
        """The end of what the processes wrote."""
        return (self._home / "nursery.out").read_text()[-6000:]


@contextmanager
def a_watch_nursery(home: Path) -> Iterator[WatchNursery]:
    """Run the process that has the children; its environment is that of this moment, and Prefect is away."""
    with (
        (home / "nursery.out").open("w") as log,
        subprocess.Popen(
            [sys.executable, "-c", NURSERY, str(home)],
            env={**os.environ, "PREFECT_API_URL": ""},
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
        ) as process,
    ):
        try:
            yield WatchNursery(home)
        finally:
            assert process.stdin is not None
            process.stdin.close()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()


class PrefectWatch:
    """Knows the processes of ``golive up``: what supervisor runs, the guard, and the run of the monitor."""

    def __init__(self, home: Path, server: Any) -> None:
        self._home, self._server = home, server
        self.killed: dict[str, int] = {}

    def kill(self, name: str) -> bool:
        """Kill ``guard``, its ``keeper``, the ``sweep``, Prefect's ``server`` or ``worker``; return if it was there."""
        with suppress(OSError, ValueError, subprocess.SubprocessError):
            os.kill(self._pid_of(name), signal.SIGKILL)
            self.killed[name] = self.killed.get(name, 0) + 1
            return True
        return False

    def _pid_of(self, name: str) -> int:
        if name == "guard":
            return int((self._home / "golive" / "guard.pid").read_text())
        if name == "sweep":
            return _sweep(str(self._server.home))
        return supervised_pid(self._server.home, name)

    @property
    def said(self) -> str:
        """The end of what the processes wrote."""
        logs = [*self._server.home.glob("*.log"), self._home / "golive" / "guard.log"]
        return "\n".join(f"--- {log.name}\n{log.read_text()[-3000:]}" for log in logs if log.exists())


def supervised_pid(home: Path, program: str) -> int:
    """Return the number of the process that supervisor runs under a name; raises if there is none now."""
    argv = [sys.executable, "-m", "supervisor.supervisorctl", "-c", str(home / "supervisord.conf"), "pid", program]
    said = subprocess.run(argv, check=True, capture_output=True, text=True, timeout=30).stdout
    if int(said) <= 0:
        raise ValueError(f"{program} does not run")
    return int(said)


def _sweep(prefect_home: str) -> int:
    """Return the number of the process that a worker has started for a run of the monitor."""
    mark = f"PREFECT_HOME={prefect_home}".encode()
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            environment = (process / "environ").read_bytes().split(b"\0")
            if mark in environment and b"PREFECT__FLOW_ENTRYPOINT=flows.monitor.monitor" in environment:
                return int(process.name)
    raise ValueError("the monitor does not run")


@contextmanager
def a_watch_under_prefect(home: Path) -> Iterator[PrefectWatch]:
    """Bring golive up as its command does, and have the monitor run again and again, as its schedule does hourly."""
    from deployments.registering import post
    from deployments.server import local_server
    from deployments.serving import bring_up
    from tasks.domain.errors import GoliveError
    from tasks.settings import Settings

    before, settings = dict(os.environ), Settings.from_environment()
    os.environ.pop("PREFECT_API_URL", None)
    server, ended = local_server(settings), threading.Event()
    try:
        bring_up(settings, print)
        [monitor] = post(server, "/deployments/filter", deployments={"name": {"any_": ["monitor"]}})

        def schedule() -> None:
            while not ended.wait(5.0):
                with suppress(GoliveError):
                    post(server, f"/deployments/{monitor['id']}/create_flow_run")

        thread = threading.Thread(target=schedule)
        thread.start()
        try:
            yield PrefectWatch(home, server)
        finally:
            ended.set()
            thread.join(60)
    finally:
        server.stop()
        os.environ.clear()
        os.environ.update(before)
