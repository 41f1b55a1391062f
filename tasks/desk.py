"""The guard's desk: what it writes to the ledger, what it reads there, and the messages that it delivers."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from threading import Thread
from typing import Any

from tasks import watching
from tasks.context import holder, revive_ledger, world
from tasks.courier import Courier
from tasks.domain.counting import of_finding
from tasks.domain.errors import GoliveError, LedgerError
from tasks.domain.judging import Basis
from tasks.domain.messages import Alert
from tasks.domain.outcome import Outcome
from tasks.domain.release import State
from tasks.domain.timetable import share
from tasks.domain.triggers import Finding, Probe
from tasks.ledger.ledger import Ledger
from tasks.ledger.part import GUARD
from tasks.ledger.reading import Armed
from tasks.moving import tell_moved
from tasks.settings import Settings
from tasks.telling import alert, courier_for
from tasks.watching import Fired, Watched

LEASE_SECONDS = 30.0
READ_FOR = 1.0
"""Seconds for which release files are read at once; the others wait for the next look, so that the lease is kept."""
HINT_WITHIN = 10.0
"""Seconds that what moved most may still be looked for once a trigger has been answered."""
DELIVER_EVERY = 5.0
"""Seconds between two tries to deliver the messages that no other process delivers."""
LOOK_ANYWAY = 300.0
"""Seconds after which messages are looked for where none is known of: those of a system's earlier releases, say."""


@dataclass
class Post:
    """One release that the guard stands at.

    ``busy`` while a finding is confirmed and answered, and from then on until reading number ``until`` has told whether
    it is still under watch.
    """

    watched: Watched
    row: Armed
    span: float
    probes: deque[Probe] = field(default_factory=deque)
    busy: bool = False
    until: int | None = None

    def add(self, probe: Probe) -> None:
        """Keep a probe, and let go of those that no trigger reaches any more."""
        self.probes.append(probe)
        while (probe.at - self.probes[0].at).total_seconds() > self.span:
            self.probes.popleft()


@dataclass(frozen=True)
class News:
    """What the ledger said: the releases to guard now, those not guarded yet, and whether this is still the guard.

    ``more`` tells that the files of some have not been read yet.
    """

    rows: Mapping[str, Armed]
    new: Sequence[Post]
    ours: bool
    more: bool = False


class Desk:
    """The guard's dealings with the ledger; each call may take as long as the ledger does."""

    def __init__(self, book: Ledger, settings: Settings, on_duty: Callable[[Ledger], None]) -> None:
        self._book, self._settings, self._on_duty = book, settings, on_duty
        self._is_on_duty = False
        self._doubtful = False
        self._told: set[str] = set()
        self._hindered: set[str] = set()
        self._unprobed: set[str] = set()
        self._mail = Mail(book)

    def write(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Put probes on record, each once, also if the ledger went away in the middle of an earlier try."""
        if not rows:
            return
        if self._doubtful:
            oldest, releases = min(row["at"] for row in rows), {row["release_id"] for row in rows}
            there = self._book.evidence.probed_at(sorted(releases), oldest)
            rows = [row for row in rows if (row["release_id"], row["at"]) not in there]
        self._doubtful = True
        self._book.evidence.probed(rows)
        self._doubtful = False

    def doubt(self) -> None:
        """Say that what was written last may come again, whether it is on record or not."""
        self._doubtful = True

    def read(self, known: Iterable[str], *, may_end: bool) -> News:
        """Renew the lease and return what is to be guarded; with nothing left the lease is given back."""
        if not self.is_ours():
            return News({}, (), ours=False)
        if not self._is_on_duty:
            self._on_duty(self._book)
            self._is_on_duty = True
        guarded = {row.id: row for row in self._book.releases.armed()}
        known = set(known)
        unread = [row for row in guarded.values() if row.id not in known | self._unprobed]
        posts, left = self._new_posts(sorted(unread, key=lambda row: row.id in self._hindered))
        if may_end and not left and not posts and not self._hindered & guarded.keys() and not known & guarded.keys():
            self._book.leases.give_back(GUARD, holder())
            # A release that came meanwhile has seen a guard alive and started none.
            if any(row.id not in guarded for row in self._book.releases.armed()) and self.is_ours():
                return self.read(known, may_end=may_end)
            return News({}, (), ours=False)
        return News(guarded, posts, ours=True, more=left > 0)

    def _new_posts(self, rows: Sequence[Armed]) -> tuple[list[Post], int]:
        """Read the files of releases that are not guarded yet, as many as the time allows; return how many are left."""
        clock, posts = world().clock, []
        began = clock.monotonic()
        for number, row in enumerate(rows, 1):
            try:
                post = self._post(row)
                self._hindered.discard(row.id)
            except LedgerError:
                raise
            except Exception as error:  # noqa: BLE001 - whatever hinders it, the other releases are guarded
                self._hindered.add(row.id)
                self._tell(row, error)
                continue
            if post is not None:
                posts.append(post)
            else:
                self._unprobed.add(row.id)
            if clock.monotonic() - began > READ_FOR:
                return posts, len(rows) - number
        return posts, 0

    def is_ours(self) -> bool:
        """Renew the lease, and tell whether this process is the guard."""
        return self._book.leases.take(GUARD, holder(), LEASE_SECONDS) is not None

    def _post(self, row: Armed) -> Post | None:
        watched = watching.observe(row)
        if watched.probe is None:
            return None
        _ = watched.target  # what hinders every probe, as a secret that is missing, is to be told now, and once
        span = watching.window_of(watched)
        start = watching.since(watched, row, span, world().clock.now())
        return Post(watched, row, span, deque(watching.ticks_of(self._book.evidence.probes(row.id, start))))

    def _tell(self, row: Armed, error: Exception) -> None:
        """Tell people once of a release that cannot be guarded."""
        if row.id in self._told:
            return
        self._told.add(row.id)
        said = say(f"{row.id} cannot be guarded", error)
        if isinstance(error, GoliveError):
            alert(
                watching.observe(row).ctx,
                Alert(
                    title="the guard cannot look",
                    seen=said,
                    limit="a probe that can be made",
                    since=world().clock.now(),
                    next_act="try again every few seconds, without telling anew",
                ),
            )

    def revive(self) -> None:
        """Start the embedded ledger again, if it is that which is away."""
        try:
            revive_ledger(self._settings)
        except GoliveError as error:
            say("the ledger cannot be started", error)

    def answered(self, watched: Watched, finding: Finding, basis: Basis, answer: Callable[[Fired], object]) -> bool:
        """Put a finding that holds on record and have it answered, if this process is still the guard."""
        if not self.is_ours():
            return False
        found = {"findings": [watching.to_json(finding)], "checks": {}, "judged": basis.as_json()}
        self._book.evidence.looked(watched.release.id, "guard", Outcome.FAILED, found)
        hint = Thread(target=tell_moved, args=(watched.ctx,), name="moved most", daemon=True)
        hint.start()
        answer(watching.fired(watched, finding, "guard", of_finding(finding)))
        hint.join(HINT_WITHIN)
        return True

    def deliver(self, posts: Sequence[Post]) -> None:
        """Deliver the messages of releases that no other process drives; raises nothing."""
        self._mail.deliver([post for post in posts if State(post.row.state) is State.WATCHING])


class Mail:
    """The messages of the releases that are guarded; only what may have something new to deliver is looked into."""

    def __init__(self, book: Ledger) -> None:
        self._book = book
        self._couriers: dict[str, Courier] = {}
        self._done: dict[str, tuple[int, float]] = {}

    def deliver(self, posts: Sequence[Post]) -> None:
        """Flush the couriers of releases that have got messages since all were out, and of each now and then."""
        clock = world().clock
        try:
            written = self._book.outbox.written([post.watched.release.id for post in posts])
        except LedgerError:
            return
        for post in posts:
            release, ctx = post.watched.release.id, post.watched.ctx
            count, at = self._done.get(release, (-1, -1e9))
            # Each after another time, so that they are not all looked into at once for ever.
            if count == written.get(release, 0) and clock.monotonic() - at < LOOK_ANYWAY * (1 - share(release) / 2):
                continue
            if ctx.file.system not in self._couriers:
                self._couriers[ctx.file.system] = courier_for(ctx)
            courier = self._couriers[ctx.file.system]
            courier.flush(DELIVER_EVERY)
            if not courier.waits():
                self._done[release] = written.get(release, 0), clock.monotonic()


def say(what: str, error: BaseException | None = None) -> str:
    """Write a line for whoever reads the guard's log, and return what went wrong in it."""
    said = world().secrets.mask(f"{type(error).__name__}: {error}") if error is not None else ""
    world().progress(f"{world().clock.now():%Y-%m-%d %H:%M:%S} guard: {what}{': ' if said else ''}{said}")
    return said
