"""A release under watch without the minutes before it: it is on record, and a service of the test's own is probed."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import dataclass, field
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from typing import Any

from tasks.domain.release import State
from tests.flows import SmallSystem
from tests.services import free_port

Later = Callable[..., None]
"""Lets the ledger's clock show so much more than it does, given as for a timedelta."""
EVERY = 0.1
"""Seconds between two probes."""
FORWARD = (
    State.PLANNED,
    State.PREFLIGHT,
    State.BACKUP,
    State.REHEARSE,
    State.AWAITING_GO,
    State.MIGRATE,
    State.DEPLOY,
    State.HEALTH,
    State.WATCHING,
)
NO_PREFECT = "http://127.0.0.1:9/api"
"""The address of a Prefect server that is away."""


@dataclass
class Probed:
    """A service that is probed; ``status`` is what it answers, and ``asked`` how often it was."""

    port: int
    status: int = 200
    asked: int = 0
    failing_share: list[int] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"


@contextmanager
def probed() -> Iterator[Probed]:
    """Run a service to be probed."""
    port = free_port()
    service = Probed(port)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            service.asked += 1
            shares = service.failing_share
            self.send_response(shares[service.asked % len(shares)] if shares else service.status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield service
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def watch_file(system: SmallSystem, service: Probed, **changes: Any) -> None:
    """Let the system's release file probe a service each `EVERY` seconds; ``changes`` as `SmallSystem.write` takes."""
    check = {"kind": "http", "name": "it answers", "url": service.url, "status": 200, "timeout": "1s"}
    given = {
        "checks.watch": [check],
        "watch": {"every": "1h", "for": "24h", "probe": {"every": f"{EVERY * 1000:g}ms", "check": "it answers"}},
        "rollback": {"when": [{"kind": "down", "for": "1s"}], "automatic": True},
    }
    system.write({**given, **{name.replace("__", "."): value for name, value in changes.items()}})


def deploy(system: SmallSystem, version: str = "v1") -> None:
    """Let a version serve, with or without Prefect."""
    from flows.deploy import deploy as flow
    from tasks.acting import perform

    asyncio.run(perform(flow, system.name, version))


def put_under_watch(
    system: SmallSystem, version: str = "v2", *, state: State = State.WATCHING, left: float = 3600.0, **opening: Any
) -> str:
    """Put a release on record that has come as far as ``state``, and return its id; ``left`` seconds are to be watched.

    Its probe passed before the release, as the baseline says.
    """
    from tasks.context import context_of
    from tasks.driving import open_release

    book = system.ledger
    claim = open_release(
        opening.get("name", system.name), version, scope="release", mutates=True, started_by="test", reason=""
    )
    ctx = context_of(claim)
    ctx.file.source.fetch(ctx.target(), version)
    book.evidence.baseline(claim.release_id, "it answers", {"latencies": [0.01] * 240})
    for before, after in pairwise(FORWARD[: FORWARD.index(min(state, State.WATCHING, key=FORWARD.index)) + 1]):
        if after is State.MIGRATE:
            number = book.releases.intend(claim, "migrate", "change something", mutates=True, detail={})
            book.releases.report(claim, "migrate", "change something", number, event="done", took=0.0, detail={})
        live = {}
        if after is State.WATCHING:
            now = book.evidence.now()
            live = {"live_at": now, "watch_until": now + timedelta(seconds=left)}
        book.releases.move(claim, before, after, **live)
    if state is State.WATCHING:
        book.releases.let_go(claim)
    return claim.release_id


def live_under_watch(system: SmallSystem, version: str) -> str:
    """Let another version serve, under watch, and return its release."""
    from tasks.context import holder
    from tasks.deploy import roll_out

    system.add_version(version)
    release = put_under_watch(system, version)
    claim = system.ledger.releases.take(release, holder())
    roll_out.fn(claim)
    system.ledger.releases.let_go(claim)
    assert system.serving() == version
    return release


def probe_all_along(system: SmallSystem, release: str, *, failed: int = 0, missing: int = 0, skip: int = 0) -> None:
    """Put the probes of the whole watch on record, as if a guard had made them, but for the first and the last few."""
    row = system.ledger.releases.get(release)
    count = int((row.watch_until - row.live_at).total_seconds() * 10)
    system.ledger.evidence.probed(
        [
            {
                "release_id": release,
                "at": row.live_at + timedelta(seconds=tick / 10),
                "check": "it answers",
                "outcome": "failed" if tick < failed else "passed",
                "elapsed": 0.01,
                "control": None,
                "source": "guard",
            }
            for tick in range(skip, count - missing)
        ]
    )


def second_system(system: SmallSystem, name: str, service: Probed) -> None:
    """Give golive another system with the same parts, probed at another service."""
    file = json.loads((system.home / "systems" / system.name / "release.yaml").read_text())
    file["system"] = name
    file["checks"]["watch"][0]["url"] = service.url
    file["rollout"]["port"] = free_port()
    (system.home / "systems" / name).mkdir()
    (system.home / "systems" / name / "release.yaml").write_text(json.dumps(file))


@contextmanager
def guarding() -> Iterator[list[Any]]:
    """Stand guard in a thread, with what it answers as flows/guard does; what it returns is put into the list."""
    from flows.answer import answer
    from tasks.guard import stand_guard

    ended: list[Any] = []

    def stand() -> None:
        try:
            ended.append(stand_guard(lambda fired: asyncio.run(answer(fired))))
        except BaseException as error:  # noqa: BLE001 - the test says what may come out
            ended.append(error)

    thread = threading.Thread(target=copy_context().run, args=(stand,), daemon=True)
    thread.start()
    yield ended
    thread.join(30)
    assert not thread.is_alive(), "the guard did not end"


@contextmanager
def guard_process(home: Path, before: str = "", **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a guard as a process of its own, after some statements, with Prefect away; it is killed at the end."""
    script = f"import asyncio\nfrom tasks import desk, guarding\n{before}\nfrom flows.guard import guard_anyway\n"
    script += "asyncio.run(guard_anyway())\n"
    with (home / "guard.out").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", script],
            env={**os.environ, "PREFECT_API_URL": NO_PREFECT, **environment},
            stdout=log,
            stderr=log,
        )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGCONT)
        process.kill()
        process.wait(10)


def end_watch(system: SmallSystem, release_id: str) -> None:
    """End the watch of a release, so that a guard finds nothing left to do."""
    system.ledger.releases.seize(release_id, State.WATCHING, State.SUPERSEDED, "the test")


def probes_of(system: SmallSystem, release_id: str) -> list[Any]:
    """Return what the guard has put on record."""
    return [one for one in system.ledger.evidence.probes(release_id) if one.source == "guard"]


def moves_of(system: SmallSystem, release_id: str) -> list[str]:
    """Return the states that a release has come to, in order."""
    return [one.after for one in system.ledger.releases.moves(release_id)]


def alerts_of(system: SmallSystem, release_id: str) -> list[str]:
    """Return what people were alerted of."""
    return [one.text for one in system.ledger.outbox.messages(release_id) if one.kind == "alert"]


def kill_wait(process: subprocess.Popen[bytes]) -> None:
    """Kill a process as nothing can catch it, and wait for its end."""
    process.kill()
    process.wait(10)
    time.sleep(0.05)
