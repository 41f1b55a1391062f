"""How the guard goes round: ticks that stay where they are, judging, and dealings with the ledger that hold up none."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any

from tasks import watching
from tasks.adapters.interrupts import was_interrupted
from tasks.context import world
from tasks.desk import DELIVER_EVERY, Desk, News, Post, say
from tasks.domain.errors import LedgerError
from tasks.domain.judging import Basis, basis_of
from tasks.domain.outages import AGAIN
from tasks.domain.outcome import Outcome
from tasks.domain.timetable import Due, Timetable
from tasks.domain.triggers import Alarm, Finding, Probe
from tasks.heartbeat import Heartbeat
from tasks.watching import Fired, Watched

READ_EVERY = 2.0
"""Seconds between two looks at the ledger for releases that came or went."""
WRITE_EVERY = 0.5
"""Seconds for which probes are gathered before they are put on record together."""
MOST_KEPT = 50_000
"""How many probes are kept while the ledger is away: 17 days of one release at 30 s; then the oldest go."""
AT_ONCE = 256
"""How many probes run at the same time: so many targets may take a whole interval to answer without a tick's delay."""
ANSWERS_AT_ONCE = 64
BESIDE = 2
"""How many ticks of one release may run beside each other, so that one that takes its whole time delays no other."""
MOST_BUSY = AT_ONCE // 2
"""Up to how many probes that run second looks are made: they must not hold up a tick."""
_BATCH = 2000
_TOO_LONG = 24 * 3600.0  # without a ledger, after which nobody can be waiting for this process any more


class Round:
    """Keeps the times at which each release is next to be probed, and what has come back."""

    def __init__(
        self, desk: Desk, answer: Callable[[Fired], object], probing: ThreadPoolExecutor, answering: ThreadPoolExecutor
    ) -> None:
        self._desk, self._answer, self._clock = desk, answer, world().clock
        # Apart, so that neither an answer nor a message waits for targets that do not answer.
        self._probe_pool, self._answer_pool = probing, answering
        self._desk_pool = ThreadPoolExecutor(1, thread_name_prefix="ledger")
        self._mail_pool = ThreadPoolExecutor(1, thread_name_prefix="mail")
        self._heartbeat = Heartbeat()
        self._posts: dict[str, Post] = {}
        self._pause = WRITE_EVERY
        self._timetable = Timetable()
        self._probing: dict[Future[Probe], Due] = {}
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
                    if self._posts:
                        self._heartbeat.beat(now)
                self._collect()
                self._collect_answers()
                self._rest(now)
                if now - self._heard_at > _TOO_LONG:
                    raise LedgerError("the ledger has been away for a day", do="start it, and then: golive guard")
            self._heartbeat.end(well=not was_interrupted())
            return self._answered
        finally:
            self._heartbeat.end(well=False)
            self._desk_pool.shutdown(wait=False, cancel_futures=True)
            self._mail_pool.shutdown(wait=False, cancel_futures=True)

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
        except Exception as error:
            # What was written is kept as well, and comes again with the next turn.
            self._desk.doubt()
            if isinstance(error, LedgerError):
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
                say("the ledger is away; probes go on and are kept", error)
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
            self._timetable.begin(post.row.id, now)
        if news.more:
            self._read_at = -1e9
        self._pause = min([WRITE_EVERY, *(post.watched.interval for post in self._posts.values())])

    def _start_due(self, now: float) -> None:
        for due in self._timetable.take(now, self._interval_of):
            running = sum(one.name == due.name and one.again is due.again for one in self._probing.values())
            if running == 0 and len(self._probing) < MOST_BUSY if due.again else running < BESIDE:
                look = watching.take_probe if due.again else watching.take_tick
                probe = self._probe_pool.submit(look, self._posts[due.name].watched)
                self._probing[probe] = due

    def _interval_of(self, release_id: str) -> float | None:
        post = self._posts.get(release_id)
        return post.watched.interval if post is not None else None

    def _collect(self) -> None:
        for future in [one for one in self._probing if one.done()]:
            due = self._probing.pop(future)
            post = self._posts.get(due.name)
            try:
                probe = future.result()
            except Exception as error:  # noqa: BLE001 - a probe that breaks has not looked, and the others go on
                say(f"{due.name}: no probe", error)
                continue
            self._keep(due.name, [probe], AGAIN if due.again else watching.TICK)
            if probe.outcome is Outcome.PASSED:
                self._timetable.answered(due.name)
            if post is not None and not due.again:
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
                settling = self._answer_pool.submit(self._settle, post.watched, finding, basis_of(known, now, start))
                self._answering[settling] = post.row.id
                return

    def _settle(self, watched: Watched, finding: Finding, basis: Basis) -> tuple[bool, list[Probe]]:
        """Confirm a finding and have it answered; return whether it was, and the probes that confirmed it."""
        holds, probes = watching.confirm(watched, finding)
        try:
            return holds and self._desk.answered(watched, finding, basis, self._answer), probes
        except Exception as error:  # noqa: BLE001 - what goes wrong with one release must not end the guard
            say(f"{watched.release.id}: {finding.kind} could not be answered", error)
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
                say(f"the ledger has been away for too long: {self._lost} probes are lost")

    def _deliver(self, now: float) -> None:
        if now - self._delivered_at >= DELIVER_EVERY and (self._delivery is None or self._delivery.done()):
            self._delivered_at = now
            self._delivery = self._mail_pool.submit(self._desk.deliver, list(self._posts.values()))

    def _rest(self, now: float) -> None:
        pause = self._pause
        due = self._timetable.next_at() if self._ours else None
        until = now + pause if due is None else min(now + pause, due)
        seconds = max(0.001, until - self._clock.monotonic())
        running: list[Future[Any]] = [*self._probing, *self._answering]
        if running:
            wait(running, timeout=seconds, return_when=FIRST_COMPLETED)
        else:
            self._clock.sleep(seconds)
