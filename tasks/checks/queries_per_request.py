"""How many queries a request costs the database."""

from __future__ import annotations

import math
import re
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from tasks.checks import Check
from tasks.domain.asking import Filled, Request, Status, blame, burst
from tasks.domain.blockers import shown_query
from tasks.domain.condition import all_of, regular
from tasks.domain.errors import Inconclusive
from tasks.domain.kind import Duration, Share
from tasks.domain.outcome import Outcome, Reading, failed, unknown
from tasks.domain.ports import Session
from tasks.domain.statements import Statements, spent, statements
from tasks.domain.target import Target
from tasks.domain.visibility import hidden

ROUNDS = 3
"""How often the requests are sent: what happens to run in one round only does not count."""
_SETTLE = 0.1
_TOP = 10


@dataclass(frozen=True)
class _Span:
    """What was called within some seconds, and what kept the span from being judged."""

    calls: Mapping[str, int]
    seconds: float
    trouble: Reading | None


@dataclass(frozen=True)
class _Found:
    """Queries per request, with how far off that may be, and the statements that are asked most."""

    queries: float
    doubt: float
    top: list[dict[str, Any]]
    noise: float


class QueriesPerRequest(Request, Check):
    """Counts the queries that one request costs, by pg_stat_statements, against a limit and against before."""

    # Other checks ask the same database, and often for the same.
    alone: ClassVar[bool] = True

    kind: Literal["queries_per_request"] = "queries_per_request"
    """Which kind of check this is."""
    requests: Annotated[int, Field(ge=1, le=1000)] = 10
    """How many requests are sent one after the other, three times over; before that, as many once, unjudged, so that
    caches and connections are warm."""
    status: Status | tuple[Status, ...] = 200
    """The status that is right, or a list of those that are."""
    at_most: Annotated[float | None, Field(ge=0)] = None
    """The most queries that a request may cost."""
    more_by: Share | None = None
    """By how much it may have grown against what was recorded before the release."""
    fewer_by: Share | None = Field(default=None, examples=["98%"])
    """By how much it must have shrunk at least, against what was recorded before the release."""
    role: str | None = Field(default=None, examples=["app"])
    """The role that the application logs in as, by its bare name; without it the queries of all roles count."""
    ignore: str | None = (
        r"^\s*(BEGIN|START|COMMIT|END|ROLLBACK|ABORT|SAVEPOINT|RELEASE|SET|RESET|SHOW|DISCARD|DEALLOCATE)\b"
    )
    """A regular expression, in capitals or not, of statements that do not count; by default what only opens and ends
    transactions or sets up a session."""
    control: Annotated[Duration, Field(gt=0)] = 2.0
    """How long it is looked, half of it before and half of it after, what runs without any request; the same share of
    that is taken off."""
    each: Duration = 10.0
    """After how long one request is given up."""
    elsewhere: str | None = None
    """A URL elsewhere; if it answers while the target does not, the target is to blame. Needless on one machine."""
    dsn: str = "{dsn}"
    """The database; by default that of the system."""

    _ignore = field_validator("ignore")(regular)

    @model_validator(mode="after")
    def _asks_something(self) -> Self:
        if self.at_most is None and self.more_by is None and self.fewer_by is None:
            raise ValueError("one of at_most, more_by, fewer_by is needed")
        return self

    @property
    def compares(self) -> bool:
        """Whether it is held against what a request cost before."""
        return (self.more_by, self.fewer_by) != (None, None)

    def look(self, target: Target) -> Reading:
        """Return how many queries a request costs; what may not be seen, or is lost in other traffic, is unknown."""
        found = self._measured(target)
        if isinstance(found, Reading):
            return found
        detail = {"queries": found.queries, "doubt": found.doubt, "noise_per_second": found.noise, "top": found.top}
        readings = [] if self.at_most is None else [_judge(found, self.at_most, "")]
        before = target.baseline.get(self.name, {}).get("queries")
        for share, sign, words in ((self.more_by, 1, "more"), (self.fewer_by, -1, "fewer")):
            if share is None:
                continue
            if before is None:
                readings.append(unknown("no baseline is on record; it is recorded before the release"))
            else:
                told = f", at {'most' if sign > 0 else 'least'} {share:.0%} {words} than {before:g} before"
                readings.append(_judge(found, before * (1 + sign * share), told))
        return all_of(readings, detail=detail)

    def record(self, target: Target) -> Mapping[str, Any]:
        """Return how many queries a request costs before the release; raises `Inconclusive` if that is not known."""
        found = self._measured(target)
        if isinstance(found, Reading):
            raise Inconclusive(found.seen, where=self.name)
        return {"queries": found.queries, "top": found.top}

    def _measured(self, target: Target) -> _Found | Reading:
        request = self.filled(target)
        with target.world.databases.session(
            target.fill(self.dsn), read_only=True, statement_timeout=self.timeout
        ) as session:
            counter = _Counter(target, session, self.role)
            first = counter.now
            if first.hidden:
                return hidden(session, f"{first.hidden} statements are")
            if trouble := self._send(target, request):
                return trouble
            idle, rounds = [counter.over(lambda: self._wait(target))], []
            for _ in range(ROUNDS):
                rounds.append(counter.over(lambda: self._send(target, request)))
                if rounds[-1].trouble:
                    return rounds[-1].trouble
            idle.append(counter.over(lambda: self._wait(target)))
        if (first.reset, first.evicted) != (counter.now.reset, counter.now.evicted):
            return unknown("statements were reset, or thrown out of pg_stat_statements, meanwhile")
        if not any(span.calls for span in rounds):
            return unknown(
                "none was counted: see that the application uses this database and role, and that "
                "pg_stat_statements.track is not none"
            )
        return self._weighed(idle, rounds, {one.key: one.query for one in counter.now.seen})

    def _wait(self, target: Target) -> None:
        target.world.clock.sleep(self.control / 2)

    def _send(self, target: Target, request: Filled) -> Reading | None:
        """Send the requests of one round, and return why it cannot be judged, if it cannot."""
        status = self.status if isinstance(self.status, tuple) else (self.status,)
        found = burst(
            target, request, self.requests, 1, each=self.each, total=self.timeout / (ROUNDS + 2), status=status
        )
        target.world.clock.sleep(_SETTLE)  # what an answer leaves to do is done soon after it
        if found.silence:
            return blame(target, target.fill(self.url), found.silence, self.elsewhere)
        if len(found.latencies) == self.requests:
            return None
        seen = f"{len(found.latencies)} of {found.asked} requests answered rightly"
        if found.asked < self.requests:
            return unknown(f"{seen}, time for no more")
        return failed(seen, detail={"problems": dict(found.problems)})

    def _weighed(self, idle: Sequence[_Span], rounds: Sequence[_Span], texts: Mapping[str, str]) -> _Found:
        """Take off what runs without requests, statement by statement, and what ran in one round alone."""
        ignored = re.compile(self.ignore, re.IGNORECASE) if self.ignore else None
        quiet = sum(span.seconds for span in idle)
        per_request: dict[str, float] = {}
        noise = taken_off = 0.0
        for key in {key for span in rounds for key in span.calls}:
            if ignored and ignored.search(texts.get(key, "")):
                continue
            rate = sum(span.calls.get(key, 0) for span in idle) / quiet
            left = statistics.median(span.calls.get(key, 0) - rate * span.seconds for span in rounds)
            if left > 0:
                per_request[key] = left / self.requests
            noise += rate
            taken_off += rate * statistics.median(span.seconds for span in rounds)
        most = sorted(per_request.items(), key=lambda item: item[1], reverse=True)[:_TOP]
        top = [{"query": shown_query(texts.get(key, "")), "per_request": round(each, 2)} for key, each in most]
        # What runs beside comes at random, so that as many calls are off by about the root of their number.
        doubt = 2 * math.sqrt(taken_off) / self.requests
        return _Found(round(sum(per_request.values()), 2), round(doubt, 2), top, round(noise, 2))


class _Counter:
    """Counts the calls of each statement over spans of time."""

    def __init__(self, target: Target, session: Session, role: str | None) -> None:
        self._clock, self._session, self._role = target.world.clock, session, role
        self.now = self._read()

    def _read(self) -> Statements:
        return statements(self._session, role=self._role, pattern=None, outermost=True)

    def over(self, act: Callable[[], Reading | None]) -> _Span:
        """Return what was called while something was done."""
        self.now = before = self._read()
        began = self._clock.monotonic()
        trouble = act()
        self.now = self._read()
        known = {one.key: one.as_json() for one in before.seen}
        calls = {one.key: spent(one, known.get(one.key)).calls for one in self.now.seen}
        return _Span({k: n for k, n in calls.items() if n}, self._clock.monotonic() - began, trouble)


def _judge(found: _Found, limit: float, told: str) -> Reading:
    outcome = Outcome.PASSED if found.queries <= limit else Outcome.FAILED
    if found.doubt and abs(found.queries - limit) <= found.doubt:
        return unknown(
            f"{found.queries:g} ± {found.doubt:g} queries per request, too near to {limit:g}{told}: other traffic "
            f"({found.noise:g} queries per second) hides it"
        )
    seen = f"{found.queries:g} queries per request ≤ {limit:g}{told}"
    return Reading(outcome, seen, value=found.queries, unit="queries", limit=limit)
