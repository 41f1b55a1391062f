"""Who is connected to the database and what the sessions do."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from tasks.checks import Check
from tasks.domain import blockers
from tasks.domain.condition import all_of
from tasks.domain.kind import Duration, Share
from tasks.domain.outcome import Outcome, Reading, judge_limit, unknown
from tasks.domain.ports import Row
from tasks.domain.ports import Session as Connection
from tasks.domain.target import Target
from tasks.domain.units import show_seconds
from tasks.domain.visibility import hidden

_SHOWN = 3
_KEPT = 20
# What may not be seen of a session has no backend_type; whether it is a client's is told by user and database then.
_SESSIONS = """
SELECT a.pid, a.usename::text AS "user", coalesce(a.application_name, '') AS application,
       coalesce(host(a.client_addr), '') AS client, a.datname = current_database() AS here, a.state,
       a.backend_type IS NULL AS hidden, coalesce(a.query, '') AS query, a.xact_start, a.query_start, a.state_change,
       extract(epoch FROM clock_timestamp() - a.xact_start)::float8 AS in_transaction,
       extract(epoch FROM clock_timestamp() - a.state_change)::float8 AS in_state,
       extract(epoch FROM clock_timestamp() - a.query_start)::float8 AS in_query,
       a.wait_event_type = 'Lock' AS waits, s.ssl, {waited} AS waited
FROM pg_stat_activity a LEFT JOIN pg_stat_ssl s ON s.pid = a.pid
WHERE a.pid <> pg_backend_pid()
  AND (a.backend_type = 'client backend' OR a.backend_type IS NULL AND a.usename IS NOT NULL AND a.datname IS NOT NULL)
"""
_WAITED = """(SELECT extract(epoch FROM clock_timestamp() - min(l.waitstart))::float8 FROM pg_locks l
              WHERE l.pid = a.pid AND NOT l.granted)"""
_WAITSTART = 140000
_ROOM = """
SELECT current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
       - coalesce(current_setting('reserved_connections', true), '0')::int AS server,
       (SELECT nullif(datconnlimit, -1) FROM pg_database WHERE datname = current_database()) AS database,
       (SELECT nullif(rolconnlimit, -1) FROM pg_roles WHERE rolname = %(role)s) AS role
"""
_PREPARED = """
SELECT gid, owner::text AS "user", prepared, extract(epoch FROM clock_timestamp() - prepared)::float8 AS seconds
FROM pg_prepared_xacts WHERE database = current_database() ORDER BY prepared
"""


class Activity(Check):
    """Looks at the sessions of the database: how many there are, and which transactions are left open or must wait."""

    advice: ClassVar[str] = (
        "see who waits for whom: SELECT pid, pg_blocking_pids(pid), state, query FROM pg_stat_activity WHERE "
        "datname = current_database()"
    )

    kind: Literal["activity"] = "activity"
    """Which kind of check this is."""
    role: str | None = Field(default=None, examples=["app"])
    """Only the sessions of this role, by its bare name; its own limit of connections counts too."""
    application: str | None = Field(default=None, examples=["orders-api"])
    """Only the sessions that call themselves so (``application_name``)."""
    connections: Share | None = 0.80
    """The most of the connections that may be in use: of the server's, without those reserved, and of the limit that
    the database or the role has. All of the server's client sessions count, whatever ``role`` and ``application``."""
    at_most: Annotated[int | None, Field(ge=0)] = None
    """How many sessions of the role and application there may be in this database; golive's own do not count."""
    at_least: Annotated[int | None, Field(ge=0)] = None
    """How many of them there must be, as where an application keeps a pool."""
    idle_in_transaction: Duration | None = 300.0
    """The longest that a session may be idle within a transaction."""
    transaction: Duration | None = 3600.0
    """The longest that a transaction may last."""
    query: Duration | None = None
    """The longest that a statement may run."""
    waiting: Duration | None = 60.0
    """The longest that a session may wait for a lock."""
    prepared: Duration | None = 3600.0
    """The longest that a prepared transaction (of two-phase commit) may be left behind."""
    encrypted: bool = False
    """Whether every session of the role and application must use TLS."""
    ignore: tuple[str, ...] = ("golive", "pg_dump")
    """Applications whose sessions are not judged, though they take up connections."""
    dsn: str = "{dsn}"
    """The database; by default that of the system."""

    def look(self, target: Target) -> Reading:
        """Return what is over a limit, each session with since when; what is hidden from golive's role is unknown."""
        with target.world.databases.session(
            target.fill(self.dsn), read_only=True, statement_timeout=self.timeout
        ) as session:
            waited = _WAITED if session.server_version >= _WAITSTART else "NULL::float8"
            everyone = session.query(_SESSIONS.format(waited=waited))
            scope = [row for row in everyone if row["here"] and self._judged(row)]
            readings = self._judge_counts(session, everyone, scope)
            readings += self._judge_times(scope)
            if self.prepared is not None:
                readings.append(self._judge_prepared(session.query(_PREPARED), self.prepared))
            unseen = sum(row["hidden"] for row in scope)
            if unseen and self._asks_for_times:
                readings.append(hidden(session, f"{unseen} of {len(scope)} sessions are"))
        states: dict[str, int] = {}
        for row in scope:
            states[row["state"] or "hidden"] = states.get(row["state"] or "hidden", 0) + 1
        longest = sorted(scope, key=lambda row: row["in_transaction"] or 0.0, reverse=True)[:_KEPT]
        detail: dict[str, Any] = {"connections": 1 + len(everyone), "judged": len(scope), "states": states}
        detail["sessions"] = [_evidence(row) for row in longest]
        return all_of(readings or [unknown("nothing was asked of the sessions")], detail=detail)

    @property
    def _asks_for_times(self) -> bool:
        asked = (self.idle_in_transaction, self.transaction, self.query, self.waiting)
        return self.encrypted or any(limit is not None for limit in asked)

    def _judged(self, row: Row) -> bool:
        return (
            row["application"] not in self.ignore
            and self.role in {None, row["user"]}
            and self.application in {None, row["application"]}
        )

    def _judge_counts(self, session: Connection, everyone: Sequence[Row], scope: Sequence[Row]) -> list[Reading]:
        readings = []
        if self.connections is not None:
            room = session.query(_ROOM, {"role": self.role})[0]
            inside = [row for row in everyone if row["here"]]
            of_role = [row for row in everyone if row["user"] == self.role]
            used = {"server": 1 + len(everyone), "database": 1 + len(inside), "role": len(of_role)}
            for what, most in room.items():
                if most is not None:
                    readings.append(_judge_room(used[what], most, self.connections, what))
        who = " ".join(name for name in (self.role, self.application) if name)
        words = f"sessions of {who}" if who else "sessions"
        if self.at_most is not None:
            readings.append(judge_limit(len(scope), self.at_most, "", words))
        if self.at_least is not None:
            readings.append(judge_limit(len(scope), self.at_least, "", words, at_least=True))
        if self.encrypted:
            seen = [row for row in scope if not row["hidden"]]
            plain = [row for row in seen if not row["ssl"]]
            readings.append(_over(plain, "state_change", "in_state", f"sessions without TLS: {len(plain)}"))
            if not scope:
                readings.append(unknown(f"there are no {words} that could use TLS"))
        return readings

    def _judge_times(self, scope: Sequence[Row]) -> list[Reading]:
        idle = [row for row in scope if (row["state"] or "").startswith("idle in transaction")]
        running = [row for row in scope if row["state"] == "active"]
        waiting = [row for row in scope if row["waits"]]
        readings = []
        for rows, start, lasted, limit, what in (
            (idle, "state_change", "in_state", self.idle_in_transaction, "idle in transaction"),
            (scope, "xact_start", "in_transaction", self.transaction, "longest transaction"),
            (running, "query_start", "in_query", self.query, "longest statement"),
            # Before version 14 nobody knows since when; not longer than its statement runs.
            (waiting, "query_start", "waited", self.waiting, "waiting for a lock"),
        ):
            if limit is None:
                continue
            guessed = [row for row in rows if lasted == "waited" and row["waited"] is None]
            if any((row["in_query"] or 0.0) > limit for row in guessed):
                readings.append(unknown(f"{len(guessed)} sessions wait for a lock; since when is not told"))
            worst = max((row[lasted] for row in rows if row[lasted] is not None), default=0.0)
            over = [row for row in rows if (row[lasted] or 0.0) > limit]
            words = f"{what} {show_seconds(worst)} ≤ {show_seconds(limit)}"
            readings.append(_over(over, start, lasted, words, value=round(worst, 1), unit="s", limit=limit))
        return readings

    def _judge_prepared(self, rows: Sequence[Row], limit: float) -> Reading:
        oldest = rows[0]["seconds"] if rows else 0.0
        words = f"oldest prepared transaction {show_seconds(oldest)} ≤ {show_seconds(limit)}" if rows else ""
        over = [f"{row['gid']!r} of {row['user']} since {row['prepared']}" for row in rows if row["seconds"] > limit]
        outcome = Outcome.FAILED if over else Outcome.PASSED
        return Reading(outcome, "; ".join([words or "no prepared transaction", *over[:_SHOWN]]))


def _judge_room(used: int, most: int, share: float, what: str) -> Reading:
    outcome = Outcome.PASSED if used <= share * most else Outcome.FAILED
    words = f"{used} of {most} connections of the {what} ≤ {share:.0%}"
    return Reading(outcome, words, value=used, unit="connections", limit=share * most)


def _over(rows: Sequence[Row], start: str, lasted: str, words: str, **more: Any) -> Reading:
    named = "; ".join(str(_session(row, start, lasted)) for row in rows[:_SHOWN])
    rest = f" and {len(rows) - _SHOWN} more" if len(rows) > _SHOWN else ""
    told: Iterable[str] = (words, f"{named}{rest}") if rows else (words,)
    return Reading(Outcome.FAILED if rows else Outcome.PASSED, ": ".join(told), **more)


def _session(row: Row, start: str, lasted: str) -> blockers.Session:
    return blockers.Session(
        row["pid"], row["application"], row["user"] or "", row["client"], row[start], row[lasted] or 0.0, row["query"]
    )


def _evidence(row: Row) -> dict[str, Any]:
    return {
        **{key: row[key] for key in ("pid", "user", "application", "client", "state")},
        "since": row["xact_start"].isoformat() if row["xact_start"] else None,
        "seconds": round(row["in_transaction"] or 0.0, 1),
        "query": "" if row["hidden"] else blockers.shown_query(row["query"]),
    }
