"""Processes of golive's that are killed at each of their steps, one after the other, without a new start of Python.

One process imports golive once and forks a child for each flow. Each child goes one step further than the one before:
right after the first step that none before it came to, its end not on record yet, it is killed as nothing can catch it.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

NURSERY = """
import asyncio, functools, json, os, pathlib, signal, sys, threading, traceback
import flows.release
from flows.keep_guard import keep_guard
from flows.monitor import monitor
from flows.rollback import rollback
from tasks.acting import perform
from tasks.ledger.releases import Releases

release = flows.release.release
for state, phase in flows.release.BEFORE.items():
    flows.release.BEFORE[state] = functools.partial(perform, phase)

assert threading.active_count() == 1, threading.enumerate()
report = Releases.report
known = pathlib.Path(sys.argv[1])
phases = set()


def reporting(self, claim, phase, name, number, **given):
    step = json.dumps([phase, name])
    if phase in phases and step not in known.read_text().splitlines():
        with known.open("a") as file:
            print(step, file=file)
        os.kill(os.getpid(), signal.SIGKILL)
    return report(self, claim, phase, name, number, **given)


Releases.report = reporting
for line in sys.stdin:
    what, phases, given = json.loads(line)
    child = os.fork()
    if not child:
        devnull = os.open(os.devnull, os.O_RDONLY)
        os.dup2(devnull, 0)
        os.dup2(2, 1)
        try:
            asyncio.run(perform(globals()[what], **given))
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class Nursery:
    """Runs flows, each in a child that is killed at the first step that is new."""

    def __init__(self, process: subprocess.Popen[str], known: Path, said: Path) -> None:
        self._process, self._known, self._said = process, known, said

    def run(self, flow: str, phases: Collection[str], **given: Any) -> bool:
        """Run a flow to its end, or until it is killed after a step of these phases, and return whether it was."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([flow, list(phases), given]) + "\n")
        self._process.stdin.flush()
        ended = int(self._process.stdout.readline())
        assert ended in {0, -signal.SIGKILL}, self._said.read_text()[-4000:]
        return ended != 0

    @property
    def killed_after(self) -> list[str]:
        """After which steps children were killed, in order."""
        return [json.loads(line)[1] for line in self._known.read_text().splitlines()]

    def forget(self) -> None:
        """Let children be killed after any step again."""
        self._known.write_text("")


@contextmanager
def a_nursery(home: Path) -> Iterator[Nursery]:
    """Run the process that has the children; its environment is that of this moment."""
    known, said = home / "steps-known", home / "nursery.out"
    known.touch()
    with (
        said.open("w") as errors,
        subprocess.Popen(
            [sys.executable, "-c", NURSERY, str(known)],
            env={**os.environ, "PREFECT_API_URL": ""},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        ) as process,
    ):
        try:
            yield Nursery(process, known, said)
        finally:
            process.kill()
