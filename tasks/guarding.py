"""How the guard goes round: ticks that stay where they are, judging, and dealings with the ledger that hold up none."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Any

from tasks import watching
from tasks.adapters.interrupts import was_interrupted
from tasks.context import holder, revive_ledger, world
from tasks.courier import Courier
from tasks.domain.errors import GoliveError, LedgerError
from tasks.domain.judging import Basis, basis_of
from tasks.domain.messages import Alert
from tasks.domain.outcome import Outcome
from tasks.domain.release import State
from tasks.domain.triggers import Alarm, Finding, Probe
from tasks.ledger.ledger import Ledger
from tasks.ledger.models import Release
from tasks.settings import Settings
from tasks.telling import alert, courier_for
from tasks.watching import Fired, Watched

LEASE = "guard"
LEASE_SECONDS = 30.0
READ_EVERY = 2.0
"""Seconds between two looks at the ledger for releases that came or went."""
WRITE_EVERY = 0.5
"""Seconds for which probes are gathered before they are put on record together."""
DELIVER_EVERY = 5.0
"""Seconds between two tries to deliver the messages that no other process delivers."""
MOST_KEPT = 50_000
"""How many probes are kept while the ledger is away: 17 days of one release at 30 s; then the oldest go."""
AT_ONCE = 64
BESIDE = 2
"""How many probes of one release may run beside each other, so that one that takes its whole time delays no tick."""
_BATCH = 2000
_TOO_LONG = 24 * 3600.0  # without a ledger, after which nobody can be waiting for this process any more


@dataclass
class Post:
    """One release that the guard stands at.

    ``busy`` while a finding is confirmed and answered, and from then on until reading number ``until`` has told whether
    it is still under watch.
    """

    watched: Watched
    row: Release
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
    """What the ledger said: the releases to guard now, those not guarded yet, and whether this is still the guard."""

    rows: Mapping[str, Release]
    new: Sequence[Post]
    ours: bool


class Desk:
    """The guard's dealings with the ledger; each call may take as long as the ledger does."""

    def __init__(self, book: Ledger, settings: Settings, on_duty: Callable[[Ledger], None]) -> None:
        self._book, self._settings, self._on_duty = book, settings, on_duty
        self._is_on_duty = False
        self._doubtful = False
        self._told: set[str] = set()
        self._couriers: dict[str, Courier] = {}

    def write(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Put probes on record, each once, also if the ledger went away in the middle of an earlier try."""
        if not rows:
            return
        if self._doubtful:
            rows = [row for row in rows if row["at"] not in self._on_record(rows, row["release_id"])]
        self._doubtful = True
        self._book.evidence.probed(rows)
        self._doubtful = False

    def _on_record(self, rows: Sequence[Mapping[str, Any]], release_id: str) -> set[Any]:
        oldest = min(row["at"] for row in rows if row["release_id"] == release_id)
        return {probe.at for probe in self._book.evidence.probes(release_id, oldest)}

    def read(self, known: Iterable[str], *, may_end: bool) -> News:
        """Renew the lease and return what is to be guarded; with nothing left the lease is given back."""
        if not self.is_ours():
            return News({}, (), ours=False)
        if not self._is_on_duty:
            self._on_duty(self._book)
            self._is_on_duty = True
        rows = watching.under_watch(self._book)
        new, posts, hindered = set(known), [], False
        guarded = {row.id: row for row in rows}
        for row in rows:
            if row.id in new:
                continue
            try:
                post = self._post(row)
            except LedgerError:
                raise
            except Exception as error:  # noqa: BLE001 - whatever hinders it, the other releases are guarded
                hindered = True
                self._tell(row, error)
                continue
            if post is not None:
                posts.append(post)
        news = News(guarded, posts, ours=True)
        if may_end and not posts and not hindered and not new & guarded.keys():
            self._book.leases.give_back(LEASE, holder())
            # A release that came meanwhile has seen a guard alive and started none.
            if any(row.id not in guarded for row in watching.under_watch(self._book)) and self.is_ours():
                return self.read(known, may_end=may_end)
            return News({}, (), ours=False)
        return news

    def is_ours(self) -> bool:
        """Renew the lease, and tell whether this process is the guard."""
        return self._book.leases.take(LEASE, holder(), LEASE_SECONDS) is not None

    def _post(self, row: Release) -> Post | None:
        watched = watching.observe(row)
        if watched.probe is None:
            return None
        _ = watched.target  # what hinders every probe, as a secret that is missing, is to be told now, and once
        span = watching.window_of(watched)
        start = watching.since(watched, row, span, world().clock.now())
        return Post(watched, row, span, deque(watching.ticks_of(self._book.evidence.probes(row.id, start))))

    def _tell(self, row: Release, error: Exception) -> None:
        """Tell people once of a release that cannot be guarded."""
        if row.id in self._told:
            return
        self._told.add(row.id)
        said = _say(f"{row.id} cannot be guarded", error)
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
            _say("the ledger cannot be started", error)

    def answered(self, watched: Watched, finding: Finding, basis: Basis, answer: Callable[[Fired], object]) -> bool:
        """Put a finding that holds on record and have it answered, if this process is still the guard."""
        if not self.is_ours():
            return False
        found = {"findings": [watching.to_json(finding)], "checks": {}, "judged": basis.as_json()}
        self._book.evidence.looked(watched.release.id, "guard", Outcome.FAILED, found)
        answer(watching.fired(watched, finding, "guard"))
        return True

    def deliver(self, posts: Sequence[Post]) -> None:
        """Deliver the messages of releases that no other process drives; raises nothing."""
        for post in posts:
            ctx = post.watched.ctx
            if State(post.row.state) is State.WATCHING:
                if ctx.file.system not in self._couriers:
                    self._couriers[ctx.file.system] = courier_for(ctx)
                self._couriers[ctx.file.system].flush(DELIVER_EVERY)


class Round:
    """Keeps the times at which each release is next to be probed, and what has come back."""

    def __init__(self, desk: Desk, answer: Callable[[Fired], object], pool: ThreadPoolExecutor) -> None:
        self._desk, self._answer, self._pool, self._clock = desk, answer, pool, world().clock
        self._desk_pool = ThreadPoolExecutor(1, thread_name_prefix="ledger")
        self._posts: dict[str, Post] = {}
        self._next: list[tuple[float, str]] = []
        self._probing: dict[Future[Probe], str] = {}
        self._answering: dict[Future[tuple[bool, list[Probe]]], str] = {}
        self._unwritten: deque[dict[str, Any]] = deque()
        self._on_desk: list[dict[str, Any]] = []
        self._turn: Future[News | None] | None = None
        self._delivery: Future[None] | None = None
        self._read_at = self._turned_at = self._delivered_at = -1e9
        self._heard_at = self._clock.monotonic()
        self._readings = self._lost = self._answered = 0
        self._ours, self._away = True, False

    def run(self) -> int:
        """Go round until nothing is left to guard, another process is the guard, or a person interrupts this one.

        Returns how much was answered; what is being answered is seen through.
        """
        try:
            while self._ours or self._answering or self._unwritten or self._turn:
                now = self._clock.monotonic()
                self._hear(now)
                self._ours = self._ours and not was_interrupted()
                self._start_turn(now)
                if self._ours:
                    self._start_due(now)
                    self._deliver(now)
                self._collect()
                self._collect_answers()
                self._rest(now)
                if now - self._heard_at > _TOO_LONG:
                    raise LedgerError("the ledger has been away for a day", do="start it, and then: golive guard")
            return self._answered
        finally:
            self._desk_pool.shutdown(wait=False, cancel_futures=True)

    @property
    def _pause(self) -> float:
        return min([WRITE_EVERY, *(post.watched.interval for post in self._posts.values())])

    def _start_turn(self, now: float) -> None:
        if self._turn is not None or now - self._turned_at < self._pause:
            return
        reads = self._ours and now - self._read_at >= READ_EVERY
        self._on_desk = [self._unwritten.popleft() for _ in range(min(_BATCH, len(self._unwritten)))]
        if not reads and not self._on_desk:
            return
        self._turned_at = now
        if reads:
            self._read_at = now
            self._readings += 1
        known, may_end = tuple(self._posts), not self._answering
        self._turn = self._desk_pool.submit(self._at_desk, self._on_desk, known, may_end=may_end, reads=reads)

    def _at_desk(
        self, rows: Sequence[Mapping[str, Any]], known: Sequence[str], *, may_end: bool, reads: bool
    ) -> News | None:
        try:
            self._desk.write(rows)
            return self._desk.read(known, may_end=may_end) if reads else None
        except LedgerError:
            self._desk.revive()
            raise

    def _hear(self, now: float) -> None:
        """Take in what the ledger said, or keep what it did not take."""
        if self._turn is None or not self._turn.done():
            return
        turn, self._turn = self._turn, None
        try:
            news = turn.result()
        except Exception as error:  # noqa: BLE001 - whatever is wrong with the ledger, probes go on and are kept
            if not self._away:
                _say("the ledger is away; probes go on and are kept", error)
            self._away = True
            self._unwritten.extendleft(reversed(self._on_desk))
            self._turned_at = now + READ_EVERY
            return
        finally:
            self._on_desk = []
        self._heard_at, self._away = now, False
        if news is not None:
            self._follow(news, now)

    def _follow(self, news: News, now: float) -> None:
        self._ours = news.ours
        for gone in self._posts.keys() - news.rows.keys():
            del self._posts[gone]
        for release_id, post in self._posts.items():
            post.row = news.rows[release_id]
            if post.until is not None and self._readings >= post.until:
                post.busy, post.until = False, None
        for post in news.new:
            self._posts[post.row.id] = post
            if all(release_id != post.row.id for _, release_id in self._next):
                heapq.heappush(self._next, (now, post.row.id))

    def _start_due(self, now: float) -> None:
        while self._next and self._next[0][0] <= now:
            due, release_id = heapq.heappop(self._next)
            post = self._posts.get(release_id)
            if post is None:
                continue
            if sum(one == release_id for one in self._probing.values()) < BESIDE:
                self._probing[self._pool.submit(watching.take_probe, post.watched)] = release_id
            # Ticks stay where they are: a probe that is late is one fewer, never a burst afterwards.
            missed = int((now - due) // post.watched.interval)
            heapq.heappush(self._next, (due + (missed + 1) * post.watched.interval, release_id))

    def _collect(self) -> None:
        for future in [one for one in self._probing if one.done()]:
            release_id = self._probing.pop(future)
            post = self._posts.get(release_id)
            try:
                probe = future.result()
            except Exception as error:  # noqa: BLE001 - a probe that breaks has not looked, and the others go on
                _say(f"{release_id}: no probe", error)
                continue
            self._keep(release_id, [probe], watching.TICK)
            if post is not None:
                post.add(probe)
                self._judge(post)

    def _judge(self, post: Post) -> None:
        now = self._clock.now()
        if post.busy:
            return
        start = watching.since(post.watched, post.row, post.span, now)
        known = list(post.probes)
        findings = watching.judge_probes(post.watched, [one for one in known if one.at >= start], now)
        for finding in findings:
            if finding.state is Alarm.FIRES:
                post.busy = True
                settling = self._pool.submit(self._settle, post.watched, finding, basis_of(known, now, start))
                self._answering[settling] = post.row.id
                return

    def _settle(self, watched: Watched, finding: Finding, basis: Basis) -> tuple[bool, list[Probe]]:
        """Confirm a finding and have it answered; return whether it was, and the probes that confirmed it."""
        holds, probes = watching.confirm(watched, finding)
        try:
            return holds and self._desk.answered(watched, finding, basis, self._answer), probes
        except Exception as error:  # noqa: BLE001 - what goes wrong with one release must not end the guard
            _say(f"{watched.release.id}: {finding.kind} could not be answered", error)
            return False, probes

    def _collect_answers(self) -> None:
        for future in [one for one in self._answering if one.done()]:
            release_id = self._answering.pop(future)
            answered, probes = future.result()
            self._answered += answered
            self._keep(release_id, probes, watching.CONFIRMING)
            if (post := self._posts.get(release_id)) is not None:
                # A reading that is under way may still have seen the release as it was.
                post.until, self._read_at = self._readings + 1, -1e9

    def _keep(self, release_id: str, probes: Iterable[Probe], source: str) -> None:
        self._unwritten.extend(watching.as_row(release_id, probe, source) for probe in probes)
        while len(self._unwritten) > MOST_KEPT:
            self._unwritten.popleft()
            self._lost += 1
            if self._lost % 1000 == 1:
                _say(f"the ledger has been away for too long: {self._lost} probes are lost")

    def _deliver(self, now: float) -> None:
        if now - self._delivered_at >= DELIVER_EVERY and (self._delivery is None or self._delivery.done()):
            self._delivered_at = now
            self._delivery = self._pool.submit(self._desk.deliver, list(self._posts.values()))

    def _rest(self, now: float) -> None:
        pause = self._pause
        due = self._next[0][0] if self._next and self._ours else now + pause
        seconds = max(0.001, min(now + pause, due) - self._clock.monotonic())
        running: list[Future[Any]] = [*self._probing, *self._answering]
        if running:
            wait(running, timeout=seconds, return_when=FIRST_COMPLETED)
        else:
            self._clock.sleep(seconds)


def _say(what: str, error: BaseException | None = None) -> str:
    """Write a line for whoever reads the guard's log, and return what went wrong in it."""
    said = world().secrets.mask(f"{type(error).__name__}: {error}") if error is not None else ""
    world().progress(f"{world().clock.now():%Y-%m-%d %H:%M:%S} guard: {what}{': ' if said else ''}{said}")
    return said
