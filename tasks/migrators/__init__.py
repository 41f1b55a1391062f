"""Migrators: what changes the database's schema. One file per kind, found by its file."""

from __future__ import annotations

import secrets
import threading
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Annotated, TypeVar

from pydantic import Field

from tasks.domain.errors import LockNotGranted, OutsideError, Refused
from tasks.domain.kind import Duration, Kind, Strict
from tasks.domain.ports import Session
from tasks.domain.target import Target
from tasks.domain.units import show_seconds

T = TypeVar("T")


class Limits(Strict):
    """What a migration may take."""

    duration: Duration = 30.0
    """The longest that the whole migration may take."""
    lock: Duration = 5.0
    """The longest that any one table may be locked against the application."""
    wait: Duration = 0.5
    """``lock_timeout`` of each try: how long others may queue behind the migration while it waits."""
    tries: Annotated[int, Field(ge=1, le=100)] = 10
    """How often a lock is tried for before the migration is given up."""


@dataclass(frozen=True)
class HeldLock:
    """A lock that the migration held on a table, with the seconds from the statement's start to the commit."""

    relation: str
    mode: str
    held: float


@dataclass(frozen=True)
class Migrated:
    """What a migrator did: the names of what it applied (or took back), the seconds, the locks, the tries it took."""

    applied: tuple[str, ...]
    took: float
    locks: tuple[HeldLock, ...] = ()
    tries: int = 1
    locks_exact: bool = True
    notes: tuple[str, ...] = field(default_factory=tuple)


class Migrator(Kind):
    """Brings a database to the schema of a version and, where it can, back. Each act may be repeated without harm."""

    limits: Limits = Limits()
    """What the migration may take; refused in rehearsal when exceeded."""
    may_roll_back: bool = True
    """Whether golive may take the schema back by the migrator's own way down."""

    @abstractmethod
    def fingerprint(self, target: Target) -> str:
        """Return a hash of all that the migration would run, so that a sign-off holds for exactly that."""

    @abstractmethod
    def pending(self, target: Target) -> Sequence[str]:
        """Return the names of what is not yet applied to ``target.dsn``, in order.

        Raises `Refused` if what was applied before is no longer what the release holds.
        """

    @abstractmethod
    def upgrade(self, target: Target) -> Migrated:
        """Apply what is pending.

        Raises `LockNotGranted` when the lock budget is used up, `SqlFailed` or `CommandFailed` with file and line.
        """

    @abstractmethod
    def can_downgrade(self, target: Target) -> bool:
        """Tell whether there is a way down for all that is in this release."""

    @abstractmethod
    def downgrade(self, target: Target, names: Sequence[str]) -> Migrated:
        """Take back the named migrations, the last one first; those not applied are left alone."""


# One key for every migration of a database: "golive" as bytes.
_RUNNER_KEY = int.from_bytes(b"golive", "big")
_RUNNER_WAIT = 3.0
_SAMPLE_EVERY = 0.02
_PAUSE_GROWTH, _PAUSE_MOST = 1.5, 3.0

_HOLDER = """
SELECT a.pid, a.application_name AS application, a.backend_start AS since
FROM pg_locks l JOIN pg_stat_activity a USING (pid)
WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND (l.classid::bigint << 32) + l.objid::bigint = %s
"""
_AT_WORK = """
SELECT pid, application_name AS application, backend_start AS since
FROM pg_stat_activity
WHERE datname = current_database() AND application_name ~ '^golive migration [0-9a-f]{8}$'
"""
_OPEN_TRANSACTIONS = """
SELECT pid, application_name AS application, state, xact_start AS since
FROM pg_stat_activity
WHERE datname = current_database() AND xact_start IS NOT NULL AND pid <> pg_backend_pid()
ORDER BY xact_start LIMIT 3
"""
_SAMPLE = """
SELECT l.virtualtransaction AS xact, l.mode, l.relation
FROM pg_stat_activity a LEFT JOIN (
    SELECT l.pid, l.virtualtransaction, l.mode, quote_ident(n.nspname) || '.' || quote_ident(c.relname) AS relation
    FROM pg_locks l JOIN pg_class c ON c.oid = l.relation JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE l.granted AND l.locktype = 'relation' AND c.relkind IN ('r', 'p', 'm', 'f', 'v')
      AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND n.nspname <> 'information_schema' AND left(n.nspname, 3) <> 'pg_'
) l ON l.pid = a.pid
WHERE a.application_name = %s
"""


def new_application() -> str:
    """Return a name for a session that migrates, by which its locks, and what a killed run leaves, are found."""
    return f"golive migration {secrets.token_hex(4)}"


@contextmanager
def only_runner(target: Target) -> Iterator[None]:
    """Hold the database's migration lock during a block, so that no two migrations of it run at once.

    Raises `Refused`, naming the holder, if another one still has it after three seconds, or if a session of a run that
    was killed is still at work. The lock is polled for: a session that waits for an advisory lock has a snapshot, and
    CREATE INDEX CONCURRENTLY would wait for that one.
    """
    clock = target.world.clock
    application = f"golive migration lock {target.system} {target.version}"[:63]
    with target.world.databases.session(target.dsn, statement_timeout=10, application=application) as session:
        if session.server_version >= 140000:
            session.execute("SET idle_session_timeout = 0")
        given_up = clock.monotonic() + _RUNNER_WAIT
        while not session.value("SELECT pg_try_advisory_lock(%s::bigint)", (_RUNNER_KEY,)):
            _wait_on(target, given_up, _sessions(session, _HOLDER, (_RUNNER_KEY,)))
        while session.value(f"SELECT EXISTS ({_AT_WORK})"):
            _wait_on(target, given_up, _sessions(session, _AT_WORK))
        yield


def _wait_on(target: Target, given_up: float, holder: str) -> None:
    if target.world.clock.monotonic() >= given_up:
        raise Refused(
            f"another migration of this database is under way: {holder}",
            do="wait until it has ended, or end that session",
        )
    target.world.clock.sleep(0.1)


def _sessions(session: Session, sql: str, params: Sequence[object] = ()) -> str:
    rows = session.query(sql, params)
    return (
        ", ".join(
            f"pid {row['pid']} ({row['application'] or 'no name'}"
            + (f", {row['state']}" if row.get("state") else "")
            + (f", since {row['since']:%Y-%m-%d %H:%M:%S %Z})" if row["since"] else ")")
            for row in rows
        )
        or "a session that has ended meanwhile"
    )


def retry_lock(target: Target, limits: Limits, attempt: Callable[[], T]) -> tuple[T, int]:
    """Call ``attempt`` until it gets its locks, and return its result and how many tries that took.

    Only `LockNotGranted` is tried again, after a pause that grows and is jittered, so that those who queued behind the
    try get their turn. After ``limits.tries`` it is raised, with the oldest open transactions of the database.
    """
    for number in range(1, limits.tries + 1):
        try:
            return attempt(), number
        except LockNotGranted as error:
            where, seen = error.where, error.seen
            if number == limits.tries:
                with target.world.databases.session(target.dsn, statement_timeout=10) as session:
                    oldest = _sessions(session, _OPEN_TRANSACTIONS)
                raise LockNotGranted(
                    f"{seen}, on each of {number} tries",
                    expected=f"the lock within {show_seconds(limits.wait)}",
                    where=where,
                    do=f"end or wait for what holds the table; oldest open transactions: {oldest}",
                ) from error
        pause = min(_PAUSE_MOST, max(limits.wait, 0.05) * _PAUSE_GROWTH ** (number - 1))
        pause *= secrets.SystemRandom().uniform(0.5, 1.5)
        target.world.progress(
            f"{where or 'migration'}: lock not granted, try {number} of {limits.tries}, next in {show_seconds(pause)}"
        )
        target.world.clock.sleep(pause)
    raise AssertionError("limits.tries is at least 1")


def longest(locks: Iterable[HeldLock]) -> tuple[HeldLock, ...]:
    """Return each table and mode once, with the longest time that it was held."""
    most: dict[tuple[str, str], float] = {}
    for lock in locks:
        key = (lock.relation, lock.mode)
        most[key] = max(lock.held, most.get(key, 0.0))
    return tuple(HeldLock(relation, mode, held) for (relation, mode), held in sorted(most.items()))


class LockSamples:
    """The locks seen on tables of sessions with one application name, looked at every 20 ms from another session.

    A lock held for less than that may be missed; ``trouble`` says why the looking ended early, ``session_seen`` whether
    there ever was such a session.
    """

    def __init__(self) -> None:
        self.session_seen = False
        self.trouble: OutsideError | None = None
        self._spans: dict[tuple[str, str, str], tuple[float, float]] = {}

    def add(self, rows: Iterable[dict[str, str | None]], at: float) -> None:
        """Take in one look; ``at`` is its time in seconds."""
        for row in rows:
            self.session_seen = True
            if row["relation"] is not None:
                key = (str(row["xact"]), row["relation"], str(row["mode"]))
                self._spans[key] = (self._spans.get(key, (at, at))[0], at)

    @property
    def locks(self) -> tuple[HeldLock, ...]:
        """What was held, each with the seconds from the first to the last look that saw it, and one interval more."""
        return longest(
            HeldLock(relation, mode, last - first + _SAMPLE_EVERY)
            for (_, relation, mode), (first, last) in self._spans.items()
        )


@contextmanager
def sampled_locks(target: Target, application: str) -> Iterator[LockSamples]:
    """Sample, during a block, the locks of the sessions that call themselves ``application``."""
    samples, ended = LockSamples(), threading.Event()
    databases, clock = target.world.databases, target.world.clock

    with databases.session(target.dsn, statement_timeout=5, application="golive lock meter") as session:

        def look() -> None:
            try:
                while not ended.wait(_SAMPLE_EVERY):
                    samples.add(session.query(_SAMPLE, (application,)), clock.monotonic())
            except OutsideError as error:
                samples.trouble = error

        thread = threading.Thread(target=look, name="golive lock meter", daemon=True)
        thread.start()
        try:
            yield samples
        finally:
            ended.set()
            thread.join()
