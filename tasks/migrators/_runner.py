"""The one runner of a database: no two migrations of it at once, nor beside what a killed one has left."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from tasks.domain.errors import LockNotGranted, Refused
from tasks.domain.ports import Session
from tasks.domain.target import Target
from tasks.migrators._fence import Fence
from tasks.migrators._pooler import require_direct

# One key for every migration of a database: "golive" as bytes.
_RUNNER_KEY = int.from_bytes(b"golive", "big")
_RUNNER_WAIT = 3.0

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


def new_application() -> str:
    """Return a name for a session that migrates, by which its locks, and what a killed run leaves, are found."""
    return f"golive migration {secrets.token_hex(4)}"


@contextmanager
def only_runner(target: Target) -> Iterator[Fence]:
    """Hold the database's migration lock during a block, so that no two migrations of it run at once.

    Raises `Refused`, naming the holder, if another one still has it after three seconds, or if a session of a run that
    was killed is still at work; `Fenced` if the release is another process's meanwhile. The lock is polled for: a
    session that waits for an advisory lock has a snapshot, and CREATE INDEX CONCURRENTLY would wait for that one.
    """
    clock = target.world.clock
    application = f"golive migration lock {target.system} {target.version}"[:63]
    with target.world.databases.session(
        target.dsn, statement_timeout=10, lock_timeout=_RUNNER_WAIT, application=application
    ) as session:
        require_direct(target, session)
        if session.server_version >= 140000:
            session.execute("SET idle_session_timeout = 0")
        given_up = clock.monotonic() + _RUNNER_WAIT
        while not session.value("SELECT pg_try_advisory_lock(%s::bigint)", (_RUNNER_KEY,)):
            _wait_on(target, given_up, shown(session, _HOLDER, (_RUNNER_KEY,)))
        fence = Fence(session, target)
        try:
            # A session that began before the fence is seen below, and one that begins later sees the fence.
            fence.raise_()
        except LockNotGranted:
            _wait_on(target, 0.0, shown(session, _AT_WORK))
        while session.value(f"SELECT EXISTS ({_AT_WORK})"):
            _wait_on(target, given_up, shown(session, _AT_WORK))
        yield fence


def _wait_on(target: Target, given_up: float, holder: str) -> None:
    if target.world.clock.monotonic() >= given_up:
        raise Refused(
            f"another migration of this database is under way: {holder}",
            do="wait until it has ended, or end that session",
        )
    target.world.clock.sleep(0.1)


def shown(session: Session, sql: str, params: Sequence[object] = ()) -> str:
    """Return the sessions that a query of ``pg_stat_activity`` finds, in words."""
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
