"""The last look before production's migration: nothing holds what it needs for long, nothing stopped still writes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tasks.acting import act_once, do_one
from tasks.context import Context, context_of
from tasks.domain.blockers import Session, in_the_way
from tasks.domain.errors import Refused
from tasks.domain.ports import Clock
from tasks.domain.ports import Session as Connection
from tasks.domain.units import show_seconds
from tasks.ledger.releases import Claim
from tasks.migrate import PHASE, rehearsal_of
from tasks.rollouts import Step

_EVERY = 0.25

# Autovacuum gives way to whoever wants its lock, unless it prevents a wraparound. A role that may not see a session
# (pg_read_all_stats) is not told since when its transaction lasts, and a process of the server's own looks nameless.
_HOLDING = """
    SELECT a.pid, coalesce(a.application_name, 'prepared transaction ' || p.gid) AS application,
           coalesce(a.usename, p.owner)::text AS user, host(a.client_addr) AS client,
           coalesce(a.xact_start, p.prepared) AS since, coalesce(a.query, '') AS query,
           extract(epoch FROM clock_timestamp() - coalesce(a.xact_start, p.prepared))::float8 AS seconds,
           l.mode, quote_ident(n.nspname) || '.' || quote_ident(c.relname) AS relation,
           l.virtualtransaction AS transaction
    FROM pg_locks l
    JOIN pg_class c ON c.oid = l.relation
    JOIN pg_namespace n ON n.oid = c.relnamespace
    LEFT JOIN pg_stat_activity a ON a.pid = l.pid
    LEFT JOIN pg_prepared_xacts p ON l.pid IS NULL AND l.virtualtransaction = '-1/' || p.transaction::text
    WHERE l.granted AND l.locktype = 'relation' AND l.pid IS DISTINCT FROM pg_backend_pid()
      AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND NOT (a.pid IS NOT NULL AND a.usename IS NULL AND a.backend_type IS NULL)
      AND NOT (a.backend_type IS NOT DISTINCT FROM 'autovacuum worker' AND a.query NOT LIKE '%(to prevent wraparound)')
    ORDER BY since, a.pid
"""
_CONNECTED = """
    SELECT pid, application_name AS application, usename::text AS user, host(client_addr) AS client,
           backend_start AS since, query, extract(epoch FROM clock_timestamp() - backend_start)::float8 AS seconds
    FROM pg_stat_activity
    WHERE datname = current_database() AND coalesce(backend_type, 'client backend') = 'client backend'
      AND pid <> pg_backend_pid() AND usename = %s AND coalesce(application_name, '') NOT LIKE 'golive%%'
    ORDER BY backend_start
"""


@act_once
def wait_until_clear(claim: Claim) -> Mapping[str, Any]:
    """Wait, for a time at most, until no long transaction holds what is needed, and nothing stopped is connected.

    Raises `Refused` with who it is, production being untouched.
    """
    ctx = context_of(claim)
    return do_one(ctx, PHASE, Step("see that nothing is in the migration's way", lambda: _wait(ctx), mutates=False))


def _wait(ctx: Context) -> Mapping[str, Any]:
    clock, limits = ctx.world.clock, ctx.file.migration.limits
    if not ctx.file.migration.pending(ctx.target()):
        return {"seconds": 0.0, "waited_for": []}
    needed = rehearsal_of(ctx).detail["upgrade"]["locks"]
    user, seen = _user_of_stopped(ctx), dict[int | None, str]()
    began = clock.monotonic()
    with ctx.world.databases.session(ctx.target().dsn, read_only=True, statement_timeout=10.0) as connection:
        holders = _Holders(connection, clock, needed, limits.lock)
        while True:
            long, undecided = holders.look()
            stopped = _connected(connection, user) if user else []
            late = clock.monotonic() - began >= limits.clear
            if not long and not stopped and (late or not undecided):
                return {"seconds": clock.monotonic() - began, "waited_for": list(seen.values())}
            told = {one.pid: ctx.world.secrets.mask(str(one)) for one in [*stopped, *long]}
            if late:
                raise _refusal(ctx, list(told.values()), stopped=bool(stopped))
            if told and not seen:
                waits = f"the migration waits up to {show_seconds(limits.clear)} for"
                ctx.world.progress(f"{waits} {'; '.join(told.values())}")
            seen |= told
            clock.sleep(_EVERY)


def _refusal(ctx: Context, told: list[str], *, stopped: bool) -> Refused:
    limits = ctx.file.migration.limits
    connected = f"{ctx.release.previous_version} is stopped and yet connected: " if stopped else ""
    return Refused(
        f"production is not free for the migration: {connected}{'; '.join(told)}",
        expected=f"within {show_seconds(limits.clear)} nothing that for longer than {show_seconds(limits.lock)} holds "
        "what it needs, nor a connection of what was stopped",
        do="end them (SELECT pg_terminate_backend(PID)) or wait, then start again; nothing was changed",
    )


class _Holders:
    """Looks at who holds locks that the migration needs; of who may not be seen, golive itself counts since when."""

    def __init__(self, connection: Connection, clock: Clock, needed: Sequence[Mapping[str, str]], long: float) -> None:
        self._connection, self._clock, self._needed, self._long = connection, clock, needed, long
        self._first: dict[tuple[int, str], float] = {}
        self._at_first: frozenset[tuple[int, str]] | None = None

    def look(self) -> tuple[list[Session], bool]:
        """Return who holds them for too long, and whether that must still turn out for somebody.

        Only those are waited for who held them at the first look: in a steady stream of short ones there is always
        somebody.
        """
        now, unseen, sessions = self._clock.monotonic(), set(), list[Session]()
        for row in self._connection.query(_HOLDING):
            transaction, seconds = row.pop("transaction"), row.pop("seconds")
            if seconds is None:
                key = (row["pid"], transaction)
                seconds = now - self._first.setdefault(key, now)
                if in_the_way([_session(row, self._long + 1)], self._needed, longer_than=self._long):
                    unseen.add(key)
            sessions.append(_session(row, seconds))
        if self._at_first is None:
            self._at_first = frozenset(unseen)
        long = in_the_way(sessions, self._needed, longer_than=self._long)
        return list({one.pid: one for one in long}.values()), bool(unseen & self._at_first)


def _session(row: Mapping[str, Any], seconds: float) -> Session:
    texts = {key: value or "" for key, value in row.items() if key not in {"pid", "since"}}
    return Session(pid=row["pid"], since=row["since"], seconds=seconds, **texts)


def _user_of_stopped(ctx: Context) -> str | None:
    """Return the application's role if what served is stopped, by a rollout in which it is so before the new starts."""
    previous, rollout = ctx.release.previous_version, ctx.file.rollout
    if previous is None or not rollout.stops_first or rollout.serving(ctx.site(previous)) is not None:
        return None
    with ctx.world.databases.session(ctx.application_dsn(ctx.target().dsn)) as session:
        return str(session.value("SELECT session_user"))


def _connected(connection: Connection, user: str) -> list[Session]:
    rows = connection.query(_CONNECTED, (user,))
    return [_session(row, row.pop("seconds") or 0.0) for row in rows]
