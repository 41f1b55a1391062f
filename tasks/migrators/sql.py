"""Migrations written as plain SQL files."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Annotated, Literal

from pydantic import Field

from tasks.domain.errors import OutsideError, Refused, SqlFailed, TimedOut
from tasks.domain.ports import Session
from tasks.domain.release_files import RelativePath, matching
from tasks.domain.sql_text import Script, Statement, concurrent_index, parse
from tasks.domain.target import Target
from tasks.domain.units import show_seconds
from tasks.migrators import (
    HeldLock,
    Limits,
    Migrated,
    Migrator,
    longest,
    new_application,
    only_runner,
    retry_lock,
    sampled_locks,
)

_DOWN = ".down.sql"
_NO_TRANSACTION = "-- golive: no transaction"

_RELATIONS = """
SELECT c.oid::bigint AS oid, quote_ident(n.nspname) || '.' || quote_ident(c.relname) AS name
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'm', 'f', 'v') AND n.nspname <> 'information_schema' AND left(n.nspname, 3) <> 'pg_'
  AND c.oid IS DISTINCT FROM to_regclass(%s)
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


class Sql(Migrator):
    """Applies SQL files in order, each once, and keeps a table of what was applied.

    A file runs in one transaction together with its row in that table. One that begins with
    ``-- golive: no transaction`` runs statement by statement instead, for CREATE INDEX CONCURRENTLY and the like; since
    its row is written after the last of them, its statements must bear being repeated.
    """

    kind: Literal["sql"] = "sql"
    """Plain SQL files."""
    files: Annotated[tuple[RelativePath, ...], Field(min_length=1, examples=[["migrations/*.sql"]])]
    """The files, relative to the release's directory; what a pattern matches is sorted, numbers by their value."""
    down: tuple[RelativePath, ...] = ()
    """The ways back, one for each file and in the same order; by default ``NAME.down.sql`` beside ``NAME.sql``."""
    table_schema: Annotated[str, Field(min_length=1, max_length=63)] = "public"
    """The schema of the table of applied files."""
    table: Annotated[str, Field(min_length=1, max_length=63)] = "golive_migrations"
    """The table of applied files; it is made with the first row and dropped with the last."""

    def fingerprint(self, target: Target) -> str:
        """Return a hash of the files, their ways back, and the limits."""
        ways = self._ways(target)
        texts = [(name, target.world.host.read(target.release_dir / name)) for way in ways.items() for name in way]
        return hashlib.sha256(json.dumps([self.model_dump(), texts], sort_keys=True).encode()).hexdigest()

    def pending(self, target: Target) -> Sequence[str]:
        """Return the files that are not yet in the table; raises `Refused` if one was changed after it was applied."""
        return [script.name for script in self._pending(target, self._scripts(target))]

    def upgrade(self, target: Target) -> Migrated:
        """Apply the files that are pending, after having read and split all of them.

        Raises `LockNotGranted` when a file does not get its locks, `SqlFailed` or `TimedOut` with file and line, and
        `Refused` when another migration runs or a file cannot be run.
        """
        scripts = self._scripts(target)
        with only_runner(target):
            run = _Run(target, self.limits, self._quoted)
            for script in self._pending(target, scripts):
                run.apply(script, script.name, after=partial(self._record, target, script))
            return run.result()

    def can_downgrade(self, target: Target) -> bool:
        """Tell whether every file that this version has applied, or would apply, has its way back."""
        applied = self._applied(target)
        return all(
            target.world.host.exists(target.release_dir / down)
            for name, down in self._ways(target).items()
            if name not in applied or applied[name][1] == target.version
        )

    def downgrade(self, target: Target, names: Sequence[str]) -> Migrated:
        """Run the ways back of those of the named files that are applied, the last one first.

        Raises `Refused` for a name or a way back that the release does not hold, before anything ran.
        """
        ways = self._ways(target)
        if strange := sorted(set(names) - set(ways)):
            raise Refused("is not one of this release's files", where=strange[0])
        with only_runner(target):
            applied = self._applied(target)
            backwards = [name for name in reversed(ways) if name in names and name in applied]
            scripts = [_read(target, ways[name]) for name in backwards]
            run = _Run(target, self.limits, self._quoted)
            for name, script in zip(backwards, scripts, strict=True):
                # The row goes first, so that the way back may drop the schema in which the table lives.
                moment = "before" if script.transactional else "after"
                run.apply(script, name, **{moment: partial(self._forget, name)})
            return run.result()

    def _ways(self, target: Target) -> dict[str, str]:
        """Return the release's files in order, each with the file that takes it back, there or not."""
        host, directory = target.world.host, target.release_dir
        downs = [name for pattern in self.down for name in matching(host, directory, pattern)]
        found = [name for pattern in self.files for name in matching(host, directory, pattern)]
        names = [name for name in dict.fromkeys(found) if not name.endswith(_DOWN) and name not in downs]
        if not names:
            raise Refused("no file but ways back", where=", ".join(self.files), expected=f"a file in {directory}")
        if not self.down:
            downs = [name.removesuffix(".sql") + _DOWN for name in names]
        if len(downs) != len(names):
            raise Refused(f"{len(downs)} ways back for {len(names)} files", where="down", expected="one for each file")
        return dict(zip(names, downs, strict=True))

    def _scripts(self, target: Target) -> list[Script]:
        return [_read(target, name) for name in self._ways(target)]

    @property
    def _quoted(self) -> str:
        return ".".join('"' + name.replace('"', '""') + '"' for name in (self.table_schema, self.table))

    def _applied(self, target: Target) -> dict[str, tuple[str, str]]:
        """Return the hash and the version of each applied file."""
        with target.world.databases.session(
            target.dsn, read_only=True, statement_timeout=10, application="golive migration"
        ) as session:
            if session.value("SELECT to_regclass(%s)::text", (self._quoted,)) is None:
                return {}
            rows = session.query(f"SELECT name, sha256, applied_by_version FROM {self._quoted}")  # noqa: S608 - quoted
        return {row["name"]: (row["sha256"], row["applied_by_version"]) for row in rows}

    def _pending(self, target: Target, scripts: Sequence[Script]) -> list[Script]:
        applied = self._applied(target)
        for script in scripts:
            was = applied.get(script.name, (script.sha256, ""))[0]
            if was != script.sha256:
                raise Refused(
                    f"the file was changed after it was applied: it was {was} and is {script.sha256} (SHA-256)",
                    expected="the file as it was applied",
                    where=script.name,
                    do="put the file back as it was, and write the change into a new file",
                )
        return [script for script in scripts if script.name not in applied]

    def _record(self, target: Target, script: Script, session: Session, took: float) -> None:
        session.execute("RESET ROLE")  # the file may have changed it
        if session.value("SELECT to_regclass(%s)::text", (self._quoted,)) is None:
            session.execute(
                f"CREATE TABLE {self._quoted} (name text PRIMARY KEY, sha256 text NOT NULL,"
                " applied_at timestamptz NOT NULL DEFAULT clock_timestamp(), took double precision NOT NULL,"
                " applied_by_version text NOT NULL)"
            )
        session.execute(
            f"INSERT INTO {self._quoted} (name, sha256, took, applied_by_version) VALUES (%s, %s, %s, %s)",  # noqa: S608 - quoted
            (script.name, script.sha256, took, target.version),
        )

    def _forget(self, name: str, session: Session, _took: float) -> None:
        session.execute("RESET ROLE")
        session.execute(f"DELETE FROM {self._quoted} WHERE name = %s", (name,))  # noqa: S608 - quoted
        if not session.value(f"SELECT count(*) FROM {self._quoted}"):  # noqa: S608 - quoted
            session.execute(f"DROP TABLE {self._quoted}")


def _read(target: Target, name: str) -> Script:
    text = target.world.host.read(target.release_dir / name)
    if text is None:
        raise Refused("no such file", where=name, expected=f"a file in {target.release_dir}")
    return parse(text, name)


Booking = Callable[[Session, float], None]
"""Changes the table of applied files; gets the seconds that the file took so far."""


def _nothing(_session: Session, _took: float) -> None:
    """Book nothing."""


class _Run:
    """Applies scripts under the limits, and adds up what that took and which locks it held."""

    def __init__(self, target: Target, limits: Limits, table: str) -> None:
        self.target, self.limits, self.table = target, limits, table
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

    def apply(self, script: Script, name: str, *, before: Booking = _nothing, after: Booking = _nothing) -> None:
        self.target.world.progress(f"{script.name}: {len(script.statements)} statements")
        if script.transactional:
            _, tries = retry_lock(self.target, self.limits, partial(self._in_one_transaction, script, before, after))
            self.tries += tries - 1
        else:
            self._one_by_one(script, after)
        self.applied.append(name)

    def _in_one_transaction(self, script: Script, before: Booking, after: Booking) -> None:
        with self._session() as session:
            began = self.clock.monotonic()
            # What is not there yet when the transaction begins is seen by nobody else, so its locks hold nobody up.
            known = {row["oid"]: row["name"] for row in session.query(_RELATIONS, (self.table,))}
            taken: dict[tuple[int, str], float] = {}
            where = script.name
            try:
                with session.transaction():
                    before(session, 0.0)
                    for statement in script.statements:
                        where = f"{script.name}:{statement.line}"
                        started = self.clock.monotonic()
                        self._check_time(started - began)
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

    def _one_by_one(self, script: Script, after: Booking) -> None:
        self.exact = False
        with sampled_locks(self.target, self.application) as samples, self._session() as session:
            began = self.clock.monotonic()
            for statement in script.statements:
                run = partial(self._by_itself, session, script, statement)
                _, tries = retry_lock(self.target, self.limits, run)
                self.tries += tries - 1
            took = self.clock.monotonic() - began
            self.worked += took
            try:
                with session.transaction():
                    after(session, took)
            except OutsideError as error:
                raise _at(error, f"{script.name}, at its end") from error
        self.locks += samples.locks
        if samples.trouble:
            self.notes.append(f"{script.name}: locks were not looked at to the end: {samples.trouble.seen}")

    def _by_itself(self, session: Session, script: Script, statement: Statement) -> None:
        try:
            self._check_time(0.0)
            # With a lock_timeout, a long transaction elsewhere makes CONCURRENTLY fail and leave an invalid index.
            wait = 0 if statement.concurrent else _milliseconds(self.limits.wait)
            session.execute("SELECT set_config('lock_timeout', %s, false)", (str(wait),))
            index = concurrent_index(statement)
            if index and (left := session.value(_INVALID_INDEX, (index.table, index.name))):
                session.execute(f"DROP INDEX CONCURRENTLY {left}")
                self.notes.append(f"{script.name}:{statement.line}: dropped {left}, invalid since an earlier try")
            session.script(statement.text)
        except OutsideError as error:
            again = "the statements before it are in force: see that they bear being repeated, then run the file again"
            raise _at(error, f"{script.name}:{statement.line}", do=again) from error

    def _check_time(self, at_work: float) -> None:
        if self.worked + at_work >= self.limits.duration:
            raise TimedOut("the migration takes too long", expected=f"at most {show_seconds(self.limits.duration)}")

    @contextlib.contextmanager
    def _session(self) -> Iterator[Session]:
        """Open a new session for each try, so that no file's settings reach the next."""
        with self.target.world.databases.session(
            self.target.dsn,
            statement_timeout=max(0.001, self.limits.duration - self.worked),
            lock_timeout=max(0.001, self.limits.wait),
            application=self.application,
        ) as session:
            # Should golive be stopped or cut off in mid-transaction, the server ends it and its locks.
            idle = _milliseconds(max(1.0, self.limits.lock))
            session.execute("SELECT set_config('idle_in_transaction_session_timeout', %s, false)", (str(idle),))
            if session.server_version >= 140000:
                with contextlib.suppress(SqlFailed):  # not on every platform of the server
                    session.execute("SET client_connection_check_interval = '1s'")
            yield session


def _milliseconds(duration: float) -> int:
    return max(1, round(duration * 1000))


def _at(error: OutsideError, where: str, do: str = "") -> OutsideError:
    """Return the error with the place in the file at which it arose."""
    name, _, line = where.rpartition(":")
    if name and (inner := re.match(r"line (\d+): ", error.seen)):  # the session counts from the statement's start
        error.seen, where = error.seen[inner.end() :], f"{name}:{int(line) + int(inner[1]) - 1}"
    if isinstance(error, SqlFailed):
        if error.sqlstate == "25001":
            do = f"let the file begin with '{_NO_TRANSACTION}'"
        do = do or error.do or "mend the file, and release it as a version of its own"
        return SqlFailed(error.seen, sqlstate=error.sqlstate, expected=error.expected, where=where, do=do)
    if isinstance(error, TimedOut):
        do = do or error.do or "do it in smaller steps, or raise migration.limits.duration"
    return type(error)(error.seen, expected=error.expected, where=where, do=do or error.do)
