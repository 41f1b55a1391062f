"""What a database is asked, how often, and how large it is, counted at one moment, to be held against another."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tasks.domain.blockers import shown_query
from tasks.domain.counters import counted
from tasks.domain.errors import GoliveError
from tasks.domain.ports import Session
from tasks.domain.statements import statements

MOST_STATEMENTS, MOST_TABLES = 150, 100
"""So many statements that took the most time, and so many of the largest tables, are kept of one count."""
_TABLES = """
SELECT format('%%I.%%I', schemaname, relname) AS name, pg_total_relation_size(relid) AS bytes,
       coalesce(seq_tup_read, 0) AS read
FROM pg_stat_user_tables ORDER BY 2 DESC LIMIT %(most)s
"""
_TRAFFIC = """
SELECT xact_commit + xact_rollback AS transactions FROM pg_stat_database WHERE datname = current_database()
"""


def count(session: Session, mask: Callable[[str], str]) -> dict[str, Any]:
    """Return what was counted of statements, of tables and of all transactions; where that cannot be, ``why``."""
    return {
        "statements": _or_why(lambda: _statements(session, mask), mask),
        "tables": _or_why(lambda: _tables(session), mask),
        "traffic": _or_why(lambda: counted(session, session.query(_TRAFFIC)[0], {}), mask),
    }


def _or_why(look: Callable[[], dict[str, Any]], mask: Callable[[str], str]) -> dict[str, Any]:
    try:
        return look()
    except GoliveError as error:
        return {"why": mask(error.seen)}


def _statements(session: Session, mask: Callable[[str], str]) -> dict[str, Any]:
    found = statements(session, role=None, pattern=None)
    if not found.seen:
        return {
            "why": f"{found.hidden} statements are hidden from golive's role" if found.hidden else "none is counted"
        }
    kept = sorted(found.seen, key=lambda one: -one.total)[:MOST_STATEMENTS]
    values: Mapping[str, Any] = {
        "statements": {one.key: one.as_json() for one in kept},
        "queries": {one.key: mask(shown_query(one.query)) for one in kept},
        "left_out": len(found.seen) - len(kept) + found.hidden,
        "evicted": found.evicted,
    }
    return counted(session, values, {"statements": found.reset})


def _tables(session: Session) -> dict[str, Any]:
    rows = session.query(_TABLES, {"most": MOST_TABLES})
    return counted(session, {row["name"]: [row["bytes"], row["read"]] for row in rows}, {})
