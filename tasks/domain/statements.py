"""What pg_stat_statements has counted, in whichever version it is there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC
from typing import Any

from tasks.domain.errors import Inconclusive, SqlFailed
from tasks.domain.ports import Row, Session
from tasks.domain.relation import quoted

HIDDEN = "<insufficient privilege>"
"""The text of a statement that golive's role may not see."""
OWN = "/* golive counts */"
"""What stands in the queries by which golive looks, and tells them from those of the application."""

_COLUMNS = f"""
SELECT {OWN} n.nspname::text AS schema, e.extversion AS version, ARRAY(
    SELECT a.attname::text FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
    WHERE c.relnamespace = n.oid AND c.relname = 'pg_stat_statements' AND a.attnum > 0) AS columns,
    to_regclass(format('%I.pg_stat_statements_info', n.nspname)) IS NOT NULL AS info
FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'pg_stat_statements'
"""  # noqa: S608 - golive's own words
_NOT_LOADED = "55000"
_DO = (
    "add pg_stat_statements to shared_preload_libraries, restart the server, run CREATE EXTENSION pg_stat_statements "
    "in this database, and GRANT pg_read_all_stats to golive's role"
)


@dataclass(frozen=True)
class Statement:
    """One statement of one role; times in milliseconds, ``began`` marks when it was first counted, where known."""

    key: str
    query: str
    calls: int
    total: float
    longest: float
    began: str | None

    def as_json(self) -> list[Any]:
        """Return its counters, to be held against later ones."""
        return [self.calls, self.total, self.longest, self.began]


@dataclass(frozen=True)
class Statements:
    """The statements of the database; ``reset`` and ``evicted`` are None before version 1.9, which does not tell."""

    seen: Sequence[Statement]
    hidden: int
    reset: str | None
    evicted: int | None


def statements(session: Session, *, role: str | None, pattern: str | None, outermost: bool = False) -> Statements:
    """Return what was counted in this database; ``outermost`` leaves out what ran within functions, where known.

    Raises `Inconclusive` if the extension is not installed or not loaded.
    """
    found = session.query(_COLUMNS)
    if not found:
        raise Inconclusive("pg_stat_statements is not installed in this database", do=_DO)
    view = found[0]
    try:
        rows = session.query(_query(view, outermost), {"role": role, "pattern": pattern, "hidden": HIDDEN})
        info = session.query(_info(view["schema"]))[0] if view["info"] else {"reset": None, "dealloc": None}
    except SqlFailed as error:
        if error.sqlstate != _NOT_LOADED:
            raise
        raise Inconclusive("pg_stat_statements is installed, but the server has not loaded it", do=_DO) from error
    visible = [row for row in rows if row["query"] != HIDDEN]
    reset = info["reset"].astimezone(UTC).isoformat() if info["reset"] else None
    return Statements([_statement(row) for row in visible], len(rows) - len(visible), reset, info["dealloc"])


def _query(view: Row, outermost: bool) -> str:
    columns = set(view["columns"])
    total, longest = (
        ("total_exec_time", "max_exec_time") if "total_exec_time" in columns else ("total_time", "max_time")
    )
    level = "toplevel" if "toplevel" in columns else "true"
    began = "extract(epoch FROM stats_since)::text" if "stats_since" in columns else "NULL"
    only = f"AND {level}" if outermost else ""
    return f"""
        SELECT {OWN} concat_ws('/', userid, queryid, {level}) AS key, query, calls, {total} AS total,
               {longest} AS longest, {began} AS began
        FROM {quoted(view["schema"])}.pg_stat_statements
        WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database()) {only}
          AND (%(role)s::text IS NULL OR userid = (SELECT oid FROM pg_roles WHERE rolname = %(role)s))
          AND (%(pattern)s::text IS NULL OR query ~* %(pattern)s OR query = %(hidden)s)
          AND query NOT LIKE '%%{OWN}%%'
    """  # noqa: S608 - names of the catalog


def _info(schema: str) -> str:
    return (
        f"SELECT {OWN} stats_reset AS reset, dealloc "  # noqa: S608 - quoted
        f"FROM {quoted(schema)}.pg_stat_statements_info"
    )


def _statement(row: Row) -> Statement:
    return Statement(row["key"], row["query"], row["calls"], row["total"], row["longest"], row["began"])


@dataclass(frozen=True)
class Spent:
    """What one statement did within a window; ``longest`` is None where its longest call is older than that."""

    query: str
    calls: int
    total: float
    longest: float | None

    @property
    def mean(self) -> float:
        """How long a call took, in milliseconds."""
        return self.total / self.calls if self.calls else 0.0


def spent(now: Statement, before: Sequence[Any] | None) -> Spent:
    """Return what a statement did since it was counted before; one that was thrown out and came back began anew."""
    calls, total, longest, began = before or (0, 0.0, 0.0, now.began)
    if began != now.began or now.calls < calls or now.total < total:
        calls, total, longest = 0, 0.0, 0.0
    newer = now.longest if now.longest > longest else None
    return Spent(now.query, now.calls - calls, now.total - total, newer)


def mostly_gone(before: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Tell whether most statements have vanished, which before version 1.9 is all that shows a reset."""
    return len(before.keys() - now.keys()) * 2 > len(before)
