"""How long a migration holds its locks, seen from another session."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from tasks.domain.errors import OutsideError
from tasks.domain.target import Target
from tasks.migrators import HeldLock

_SAMPLE_EVERY = 0.02

_SAMPLE = """
SELECT l.virtualtransaction AS xact, l.mode, l.relation
FROM pg_stat_activity a LEFT JOIN (
    SELECT l.pid, l.virtualtransaction, l.mode, quote_ident(n.nspname) || '.' || quote_ident(c.relname) AS relation
    FROM pg_locks l JOIN pg_class c ON c.oid = l.relation JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE l.granted AND l.locktype = 'relation' AND c.relkind IN ('r', 'p', 'm', 'f', 'v')
      AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND n.nspname <> 'information_schema' AND left(n.nspname, 3) <> 'pg_'
) l ON l.pid = a.pid
WHERE a.application_name = %(application)s
   OR a.datname = current_database() AND a.backend_start > %(others_since)s::timestamptz
      AND a.backend_type = 'client backend' AND left(a.application_name, 6) <> 'golive'
"""


def longest(locks: Iterable[HeldLock]) -> tuple[HeldLock, ...]:
    """Return each table and mode once, with the longest time that it was held."""
    most: dict[tuple[str, str], float] = {}
    for lock in locks:
        key = (lock.relation, lock.mode)
        most[key] = max(lock.held, most.get(key, 0.0))
    return tuple(HeldLock(relation, mode, held) for (relation, mode), held in sorted(most.items()))


class LockSamples:
    """The locks seen on tables of sessions that migrate, looked at every 20 ms from another session.

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

    def join(self, other: LockSamples) -> None:
        """Take in what was seen of another run."""
        self.session_seen |= other.session_seen
        self.trouble = self.trouble or other.trouble
        self._spans |= other._spans

    @property
    def locks(self) -> tuple[HeldLock, ...]:
        """What was held, each with the seconds from the first to the last look that saw it, and one interval more."""
        return longest(
            HeldLock(relation, mode, last - first + _SAMPLE_EVERY)
            for (_, relation, mode), (first, last) in self._spans.items()
        )


@contextmanager
def sampled_locks(target: Target, application: str, *, others: bool = False) -> Iterator[LockSamples]:
    """Sample, during a block, the locks of the sessions that call themselves ``application``.

    With ``others`` those count too that begin meanwhile and are not golive's. On a copy they always do: nobody else is
    there, and not every program lets its sessions be named.
    """
    samples, ended = LockSamples(), threading.Event()
    databases, clock = target.world.databases, target.world.clock

    with databases.session(target.dsn, statement_timeout=5, application="golive lock meter") as session:
        counted = others or target.turn is None
        since = session.value("SELECT clock_timestamp()") if counted else None
        asked = {"application": application, "others_since": since}

        def look() -> None:
            try:
                while not ended.wait(_SAMPLE_EVERY):
                    samples.add(session.query(_SAMPLE, asked), clock.monotonic())
            except OutsideError as error:
                samples.trouble = error

        thread = threading.Thread(target=look, name="golive lock meter", daemon=True)
        thread.start()
        try:
            yield samples
        finally:
            ended.set()
            thread.join()
