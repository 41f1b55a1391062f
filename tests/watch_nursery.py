"""A watch whose processes are cheap to kill: guards and sweeps of the monitor, forked from one that imported golive.

As a scheduler does, it begins a sweep a moment after the last one has ended; guards it starts when `start_guard` asks.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

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
