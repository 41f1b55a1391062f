"""The steps of the guard: probes every release under watch at its own interval, and tells when a trigger fires."""

from __future__ import annotations

import heapq
import os
import sys
from collections import deque
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tasks import watching
from tasks.acting import act
from tasks.context import holder, ledger, world
from tasks.domain.errors import LedgerError
from tasks.domain.outcome import Outcome
from tasks.domain.ports import Command
from tasks.domain.release import State
from tasks.domain.triggers import Alarm, Finding, Probe
from tasks.ledger.ledger import Ledger
from tasks.settings import Settings
from tasks.telling import tell_of
from tasks.watching import Watched

LEASE = "guard"
PID_FILE = "guard.pid"
"""Where in golive's home the number of the guard's process is kept that was started last."""
LEASE_SECONDS = 30.0
REFRESH = 2.0
"""Seconds between two looks at the ledger for releases that came or went."""
AT_ONCE = 16
WRITE_EVERY = 0.5
"""Seconds for which probes are gathered before they are put on record together."""


@dataclass(frozen=True)
class Fired:
    """A trigger that fires, confirmed; ``automatic`` tells whether golive may act on it by itself."""

    release_id: str
    system: str
    seen: str
    automatic: bool


@dataclass
class _Post:
    """One release that the guard stands at."""

    watched: Watched
    span: float
    probes: deque[Probe] = field(default_factory=deque)
    answered: frozenset[str] = frozenset()

    def add(self, probe: Probe) -> None:
        self.probes.append(probe)
        while self.probes and (probe.at - self.probes[0].at).total_seconds() > self.span:
            self.probes.popleft()


@act
def stand_guard() -> Fired | None:
    """Probe until a trigger fires, and return what fired; None once nothing is under watch any more.

    Only one process guards at a time: another one returns None at once. Probes go on record within half a second,
    so that a guard that is killed loses no more than that.
    """
    settings = Settings.from_environment()
    book = ledger(settings)
    if book.leases.take(LEASE, holder(), LEASE_SECONDS) is None:
        return None
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="probe") as pool:
        fired = _Guard(book, pool).run()
    if fired is None:
        book.leases.give_back(LEASE, holder())
    return fired


class _Guard:
    """Keeps the times at which each release is next to be probed, and what has come back."""

    def __init__(self, book: Ledger, pool: ThreadPoolExecutor) -> None:
        self._book, self._pool, self._clock = book, pool, world().clock
        self._posts: dict[str, _Post] = {}
        self._next: list[tuple[float, str]] = []
        self._running: dict[str, Future[Probe]] = {}
        self._unwritten: list[dict[str, Any]] = []
        self._written = self._refreshed = -1e9
        self._write_every = WRITE_EVERY

    def run(self) -> Fired | None:
        """Go round until something fires or nothing is left to guard."""
        while True:
            now = self._clock.monotonic()
            if now - self._refreshed >= REFRESH and not self._refresh(now):
                self._write(now)
                return None
            self._start_due(now)
            fired = self._collect()
            if fired is not None or now - self._written >= self._write_every:
                self._write(now)
            if fired is not None:
                return fired
            self._rest(now)

    def _refresh(self, now: float) -> bool:
        self._refreshed = now
        try:
            if self._book.leases.take(LEASE, holder(), LEASE_SECONDS) is None:
                return False
            rows = {row.id: row for row in watching.under_watch()}
        except LedgerError:
            # Probes go on while the ledger is away; they are kept and written once it is back.
            return True
        for gone in self._posts.keys() - rows.keys():
            del self._posts[gone]
        for release_id, row in rows.items():
            watched = watching.observe(row)
            if watched.probe is None:
                continue
            if (post := self._posts.get(release_id)) is not None:
                post.watched = watched
                continue
            span = watching.window_of(watched)
            post = self._posts[release_id] = _Post(watched, span)
            start = watching.since(row, span, self._clock.now())
            post.probes.extend(watching.as_probe(one) for one in self._book.evidence.probes(release_id, start))
            heapq.heappush(self._next, (now, release_id))
        self._write_every = min([WRITE_EVERY, *(post.watched.interval for post in self._posts.values())])
        return bool(self._posts)

    def _start_due(self, now: float) -> None:
        while self._next and self._next[0][0] <= now:
            due, release_id = heapq.heappop(self._next)
            post = self._posts.get(release_id)
            if post is None:
                continue
            if release_id not in self._running:
                self._running[release_id] = self._pool.submit(watching.take_probe, post.watched)
            # Ticks stay where they are: a probe that is late is one fewer, never a burst afterwards.
            missed = int((now - due) // post.watched.interval)
            heapq.heappush(self._next, (due + (missed + 1) * post.watched.interval, release_id))

    def _collect(self) -> Fired | None:
        fired = None
        for release_id in [one for one, future in self._running.items() if future.done()]:
            probe = self._running.pop(release_id).result()
            post = self._posts.get(release_id)
            if post is None:
                continue
            post.add(probe)
            self._unwritten.append(_row(release_id, probe))
            fired = fired or self._judge(post)
        return fired

    def _judge(self, post: _Post) -> Fired | None:
        findings = watching.judge_probes(post.watched, list(post.probes), self._clock.now())
        firing = {one.kind: one for one in findings if one.state is Alarm.FIRES}
        post.answered &= frozenset(firing)
        for kind, finding in firing.items():
            if kind in post.answered or not watching.confirmed(post.watched, finding):
                continue
            post.answered |= {kind}
            return self._fired(post, finding)
        return None

    def _fired(self, post: _Post, finding: Finding) -> Fired:
        release = post.watched.release
        found = {"findings": [watching.to_json(finding)], "checks": {}}
        self._book.evidence.looked(release.id, "guard", Outcome.FAILED, found)
        automatic = post.watched.ctx.file.rollback.automatic and watching.is_armed(release)
        return Fired(release.id, release.system, f"{finding.kind}: {finding.seen}", automatic)

    def _write(self, now: float) -> None:
        self._written = now
        try:
            self._book.evidence.probed(self._unwritten)
        except LedgerError:
            return
        self._unwritten = []

    def _rest(self, now: float) -> None:
        wake = min(now + self._write_every, self._next[0][0] if self._next else now + self._write_every)
        seconds = max(0.0, wake - self._clock.monotonic())
        if self._running:
            wait(self._running.values(), timeout=seconds, return_when=FIRST_COMPLETED)
        else:
            self._clock.sleep(seconds)


def _row(release_id: str, probe: Probe) -> dict[str, Any]:
    return {
        "release_id": release_id,
        "at": probe.at,
        "check": probe.source,
        "outcome": probe.outcome.value,
        "elapsed": probe.elapsed,
        "control": probe.control.value if probe.control is not None else None,
        "source": "guard",
    }


@act
def ask_person(fired: Fired) -> None:
    """Tell people of a trigger that fires and that golive may not act on by itself; the release waits for them."""
    book = ledger(Settings.from_environment())
    row = book.releases.get(fired.release_id)
    book.releases.seize(
        row.id,
        State(row.state),
        State.NEEDS_PERSON,
        holder(),
        note=fired.seen,
        tell=tell_of(row, State.NEEDS_PERSON, fired.seen, moves=book.releases.moves(row.id)),
    )


def guard_is_alive(book: Ledger) -> bool:
    """Tell whether a guard has been heard of lately."""
    seen = book.leases.seen(LEASE)
    return seen is not None and seen[2]


@act
def ensure_guard() -> str:
    """Start a guard if none is alive, in a process of its own that outlives this one, and say what was done."""
    settings = Settings.from_environment()
    book = ledger(settings)
    if guard_is_alive(book):
        return "alive"
    # The guard resolves the same secrets as this process, so it gets the whole environment.
    command = Command((sys.executable, "-m", "deployments.cli", "guard"), secret_env=dict(os.environ), cwd=Path.cwd())
    pid = world().host.spawn(command, settings.home / "guard.log")
    world().host.write(settings.home / PID_FILE, f"{pid}\n")
    return f"started as process {pid}"
