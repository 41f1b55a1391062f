"""Processes of golive's that are killed, one after the other, without a new start of Python for each.

One process imports golive once and forks a child for each flow, which runs without Prefect and in the environment of
the test at that moment. A child can be killed at a step as nothing can catch it, by itself or at any time by the test.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

NURSERY = """
import asyncio, functools, json, os, pathlib, signal, sys, threading, traceback
import flows.release
from flows.deploy import deploy
from flows.keep_guard import keep_guard
from flows.monitor import monitor
from flows.rollback import rollback
from tasks.acting import perform
from tasks.ledger.releases import Releases

# What a report loads at its first plot: each child that comes to its end would load it anew.
import jinja2
import matplotlib.backends.backend_agg, matplotlib.backends.backend_svg, matplotlib.figure

release = flows.release.release
for state, phase in flows.release.BEFORE.items():
    flows.release.BEFORE[state] = functools.partial(perform, phase)

assert threading.active_count() == 1, threading.enumerate()
intend, report, move = Releases.intend, Releases.report, Releases.move
known = pathlib.Path(sys.argv[1])


def die_if_new(*names):
    step = json.dumps(names)
    if wanted.intersection(names) and step not in known.read_text().splitlines():
        with known.open("a") as file:
            print(step, file=file)
        os.kill(os.getpid(), signal.SIGKILL)


def intending(self, claim, phase, name, **given):
    number = intend(self, claim, phase, name, **given)
    if f"sleep before {name}" in wanted:
        os.kill(os.getpid(), signal.SIGSTOP)
    die_if_new(f"before {name}")
    return number


def reporting(self, claim, phase, name, number, **given):
    die_if_new(phase, name)
    return report(self, claim, phase, name, number, **given)


def moving(self, claim, before, after, **given):
    move(self, claim, before, after, **given)
    die_if_new(f"to {after}")


Releases.intend, Releases.report, Releases.move = intending, reporting, moving
for line in sys.stdin:
    what, names, given, environment = json.loads(line)
    wanted = set(names)
    child = os.fork()
    if not child:
        os.environ.update(environment)
        devnull = os.open(os.devnull, os.O_RDONLY)
        os.dup2(devnull, 0)
        os.dup2(2, 1)
        try:
            asyncio.run(perform(globals()[what], **given))
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class Child:
    """A process of golive's that runs."""

    def __init__(self, nursery: Nursery, pid: int, said: int) -> None:
        self.pid = pid
        self._nursery, self._began = nursery, said
        self._ended: int | None = None

    @property
    def alive(self) -> bool:
        """Whether it has not ended yet."""
        return Path(f"/proc/{self.pid}").exists()

    @property
    def asleep(self) -> bool:
        """Whether it was stopped by a signal."""
        with suppress(FileNotFoundError):
            return Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"
        return False

    @property
    def said(self) -> str:
        """What it wrote."""
        return self._nursery.said[self._began :]

    def kill(self) -> None:
        """Kill it as nothing can catch it, if it has not ended, and wait for its end."""
        if self._ended is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
            self.wait()

    def wait(self) -> int:
        """Wait for its end and return its exit code, or the negative number of the signal that killed it."""
        if self._ended is None:
            self._ended = int(self._nursery.line())
        return self._ended


class Nursery:
    """Runs flows, each in a child of its own, one at a time."""

    def __init__(self, process: subprocess.Popen[str], home: Path) -> None:
        self._process, self._home = process, home

    def run(self, flow: str, at: Collection[str] = (), **given: Any) -> bool:
        """Run a flow to its end, or until it is killed, and return whether it was.

        It is killed right after the first step of ``at`` that none before it came to, its end not on record yet. Those
        are names of steps, or of phases, which stand for all of their steps; "to STATE" is where the release has just
        come to a state; "before STEP" is when only the intent of a step is on record.
        """
        with self.running(flow, at, **given) as child:
            ended = child.wait()
        assert ended in {0, -signal.SIGKILL}, child.said[-4000:]
        return ended != 0

    @contextmanager
    def running(self, flow: str, at: Collection[str] = (), **given: Any) -> Iterator[Child]:
        """Run a flow beside the block, after which it is killed; "sleep before STEP" stops it by a signal."""
        assert self._process.stdin is not None
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
        self._process.stdin.write(json.dumps([flow, list(at), given, environment]) + "\n")
        self._process.stdin.flush()
        said = len(self.said)
        child = Child(self, int(self.line()), said)
        try:
            yield child
        finally:
            child.kill()

    def line(self) -> str:
        """Return what the process that has the children tells next."""
        assert self._process.stdout is not None
        return self._process.stdout.readline()

    @property
    def said(self) -> str:
        """What all children wrote."""
        return (self._home / "said").read_text()

    @property
    def killed_after(self) -> list[str]:
        """After which steps children were killed, in order."""
        return [json.loads(line)[-1] for line in (self._home / "known").read_text().splitlines()]

    def forget(self) -> None:
        """Let children be killed after any step again."""
        (self._home / "known").write_text("")


@contextmanager
def a_nursery() -> Iterator[Nursery]:
    """Run the process that has the children."""
    with tempfile.TemporaryDirectory(prefix="golive-nursery-") as directory:
        home = Path(directory)
        (home / "known").touch()
        with (
            (home / "said").open("w") as errors,
            subprocess.Popen(
                [sys.executable, "-c", NURSERY, str(home / "known")],
                env={**os.environ, "PREFECT_API_URL": ""},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            ) as process,
        ):
            try:
                yield Nursery(process, home)
            finally:
                process.kill()
