"""Running SQL files under the limits of a migration, with every lock that they hold."""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Callable, Iterator
from functools import partial

from tasks.domain.errors import LockNotGranted, OutsideError, SqlFailed, TimedOut
from tasks.domain.ports import Session
from tasks.domain.sql_text import Script, Statement, concurrent_index, reindexed
from tasks.domain.target import Target
from tasks.domain.turn import FENCE
from tasks.domain.units import milliseconds, show_seconds
from tasks.migrators import HeldLock, Limits, Migrated
from tasks.migrators._fence import Fence
from tasks.migrators._locks import longest, sampled_locks
from tasks.migrators._retry import retry_lock
from tasks.migrators._runner import new_application

_NO_TRANSACTION = "-- golive: no transaction"

_RELATIONS = """
SELECT c.oid::bigint AS oid, quote_ident(n.nspname) || '.' || quote_ident(c.relname) AS name
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'm', 'f', 'v') AND n.nspname <> 'information_schema' AND left(n.nspname, 3) <> 'pg_'
  AND c.oid IS DISTINCT FROM to_regclass(%s) AND c.relname <> %s
"""
_OWN_LOCKS = """
SELECT relation::bigint AS oid, mode FROM pg_locks
WHERE pid = pg_backend_pid() AND granted AND locktype = 'relation'
"""
_INVALID_INDEX = """
SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname)
FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE NOT i.indisvalid AND i.indrelid = to_regclass(%s) AND c.relname = (parse_ident(%s))[1]
"""
# So PostgreSQL names the copies by which it rebuilds an index concurrently.
_INVALID_COPIES = """
SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname) AS name
FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE NOT i.indisvalid AND c.relname ~ '_cc(new|old)[0-9]*$' AND n.nspname <> 'pg_toast'
  AND i.indrelid IN (SELECT to_regclass(%(name)s)
                     UNION SELECT indrelid FROM pg_index WHERE indexrelid = to_regclass(%(name)s))
"""

Booking = Callable[[Session, float], None]
"""Changes the table of applied files; gets the seconds that the file took so far."""


def nothing(_session: Session, _took: float) -> None:
    """Book nothing."""


class Run:
    """Applies scripts under the limits, and adds up what that took and which locks it held."""

    def __init__(self, target: Target, limits: Limits, table: str, fence: Fence) -> None:
        self.target, self.limits, self.table, self.fence = target, limits, table, fence
        self.clock = target.world.clock
        self.application = new_application()
        self.applied: list[str] = []
        self.locks: list[HeldLock] = []
        self.notes: list[str] = []
        self.tries, self.exact = 1, True
        self.began = self.clock.monotonic()
        self.worked = 0.0

    def result(self) -> Migrated:
        took = self.clock.monotonic() - self.began
        return Migrated(tuple(self.applied), took, longest(self.locks), self.tries, self.exact, tuple(self.notes))

    def apply(
        self,
        script: Script,
        name: str,
        *,
        before: Booking = nothing,
        after: Booking = nothing,
        undo: Booking = nothing,
    ) -> None:
        """Run a script with its bookings; ``undo`` takes ``before`` back where one without transaction did nothing."""
        self.target.world.progress(f"{script.name}: {len(script.statements)} statements")
        if script.transactional:
            _, tries = retry_lock(self.target, self.limits, partial(self._in_one_transaction, script, before, after))
            self.tries += tries - 1
        else:
            self._one_by_one(script, before, after, undo)
        self.applied.append(name)

    def _in_one_transaction(self, script: Script, before: Booking, after: Booking, wait: float) -> None:
        self.fence.require()
        with self._session(wait) as session:
            began = self.clock.monotonic()
            # What is not there yet when the transaction begins is seen by nobody else, so its locks hold nobody up.
            known = {row["oid"]: row["name"] for row in session.query(_RELATIONS, (self.table, FENCE))}
            taken: dict[tuple[int, str], float] = {}
            where = script.name
            try:
                with session.transaction():
                    self.fence.hold(session)
                    before(session, 0.0)
                    for statement in script.statements:
                        where = f"{script.name}:{statement.line}"
                        started = self.clock.monotonic()
                        self._check_time(started - began, session)
                        session.script(statement.text)
                        for row in session.query(_OWN_LOCKS):
                            taken.setdefault((row["oid"], row["mode"]), started)
                    where = f"{script.name}, at its end"
                    after(session, self.clock.monotonic() - began)
            except OutsideError as error:
                raise _at(error, where) from error
            ended = self.clock.monotonic()
        self.worked += ended - began
        self.locks += [HeldLock(known[oid], mode, ended - at) for (oid, mode), at in taken.items() if oid in known]

    def _one_by_one(self, script: Script, before: Booking, after: Booking, undo: Booking) -> None:
        self.exact = False
        with sampled_locks(self.target, self.application) as samples, self._session(self.limits.wait) as session:
            began = self.clock.monotonic()
            self._book(session, f"{script.name}, before it", before, 0.0)
            for number, statement in enumerate(script.statements):
                run = partial(self._by_itself, session, script, statement)
                try:
                    _, tries = retry_lock(self.target, self.limits, run)
                except (LockNotGranted, SqlFailed):
                    # Only a statement that works concurrently leaves something behind when it is refused.
                    if number == 0 and not statement.concurrent:
                        self._book(session, f"{script.name}, after it was refused", undo, 0.0)
                    raise
                self.tries += tries - 1
            took = self.clock.monotonic() - began
            self.worked += took
            self._book(session, f"{script.name}, at its end", after, took)
        self.locks += samples.locks
        if samples.trouble:
            self.notes.append(f"{script.name}: locks were not looked at to the end: {samples.trouble.seen}")

    def _book(self, session: Session, where: str, booking: Booking, took: float) -> None:
        try:
            with session.transaction():
                session.execute("RESET ROLE")  # the file may have changed it
                self.fence.hold(session)
                booking(session, took)
        except OutsideError as error:
            raise _at(error, where) from error

    def _by_itself(self, session: Session, script: Script, statement: Statement, wait: float) -> None:
        try:
            self.fence.require()
            self._check_time(0.0, session)
            # With a lock_timeout, a long transaction elsewhere makes CONCURRENTLY fail and leave an invalid index.
            limit = 0 if statement.concurrent else milliseconds(wait)
            session.execute("SELECT set_config('lock_timeout', %s, false)", (str(limit),))
            for left in _leftovers(session, statement):
                session.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {left}")
                self.notes.append(f"{script.name}:{statement.line}: dropped {left}, invalid since an earlier try")
            session.script(statement.text)
        except OutsideError as error:
            again = "the statements before it are in force: see that they bear being repeated, then run the file again"
            raise _at(error, f"{script.name}:{statement.line}", do=again) from error

    def _check_time(self, at_work: float, session: Session) -> None:
        if self.worked + at_work >= self.limits.duration:
            raise TimedOut("the migration takes too long", expected=f"at most {show_seconds(self.limits.duration)}")
        left = self.limits.left(self.clock)
        if left <= 0:
            raise TimedOut(
                "requests have been held back for as long as they may",
                expected="a migration that is over before",
                do="make the migration smaller, or give migration.pause more",
            )
        if math.isfinite(left):
            longest = milliseconds(min(self.limits.per_statement, left))
            session.execute("SELECT set_config('statement_timeout', %s, false)", (str(longest),))

    @contextlib.contextmanager
    def _session(self, wait: float) -> Iterator[Session]:
        """Open a new session for each try, so that no file's settings reach the next."""
        with self.target.world.databases.session(
            self.target.dsn,
            statement_timeout=max(0.001, min(self.limits.per_statement, self.limits.duration - self.worked)),
            lock_timeout=max(0.001, wait),
            application=self.application,
        ) as session:
            # Should golive be stopped or cut off in mid-transaction, the server ends it and its locks.
            idle = milliseconds(max(1.0, self.limits.lock))
            session.execute("SELECT set_config('idle_in_transaction_session_timeout', %s, false)", (str(idle),))
            if session.server_version >= 140000:
                with contextlib.suppress(SqlFailed):  # not on every platform of the server
                    session.execute("SET client_connection_check_interval = '1s'")
            yield session


def _leftovers(session: Session, statement: Statement) -> list[str]:
    """Return the indexes that an earlier, interrupted try of a statement has left invalid."""
    if index := concurrent_index(statement):
        left = session.value(_INVALID_INDEX, (index.table, index.name))
        return [left] if left else []
    if name := reindexed(statement):
        return [row["name"] for row in session.query(_INVALID_COPIES, {"name": name})]
    return []


def _at(error: OutsideError, where: str, do: str = "") -> OutsideError:
    """Return the error with the place in the file at which it arose."""
    name, _, line = where.rpartition(":")
    if name and (inner := re.match(r"line (\d+): ", error.seen)):  # the session counts from the statement's start
        error.seen, where = error.seen[inner.end() :], f"{name}:{int(line) + int(inner[1]) - 1}"
    if isinstance(error, SqlFailed):
        if error.sqlstate == "25001":
            do = f"let the file begin with '{_NO_TRANSACTION}'"
        if error.sqlstate == "55P04":
            do = "add the value in a file of its own, before the one that uses it"
        do = do or error.do or "mend the file, and release it as a version of its own"
        return SqlFailed(error.seen, sqlstate=error.sqlstate, expected=error.expected, where=where, do=do)
    if isinstance(error, TimedOut):
        do = do or error.do or "do it in smaller steps, or raise migration.limits.duration"
    return type(error)(error.seen, expected=error.expected, where=where, do=do or error.do)
