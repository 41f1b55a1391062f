"""What a database holds, as one row count and one content hash for each table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tasks.domain.ports import Session

Fingerprint = Mapping[str, Mapping[str, Any]]
"""For each table, quoted and with its schema: ``{"rows": 3, "hash": "…"}``."""

# A row's text depends on these, so both sides of a comparison must agree on them.
_SETTINGS = {
    "row_security": "off",  # a policy that hides rows must be an error here, not a smaller count
    "DateStyle": "ISO, YMD",
    "IntervalStyle": "iso_8601",
    "TimeZone": "UTC",
    "extra_float_digits": "3",
    "bytea_output": "hex",
    "xmloption": "content",
    "lc_monetary": "C",
    "search_path": "pg_catalog",  # names of tables, functions and types in a row are shown relative to it
}

_TABLES = """
    SELECT format('%I.%I', n.nspname, c.relname) AS name
    FROM pg_class c
    JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind = 'r' AND c.relpersistence <> 't'
      AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^pg_(toast|temp)'
      AND NOT EXISTS (
          SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e'
      )
    ORDER BY 1
"""

_COUNTERS = """
    SELECT format('%I.%I', schemaname, relname) AS name, n_tup_ins + n_tup_upd + n_tup_del AS changes
    FROM pg_stat_user_tables
"""


def settle(session: Session) -> None:
    """Set what the text of a row depends on, so that hashes from two servers can be compared."""
    for name, value in _SETTINGS.items():
        session.query("SELECT set_config(%s, %s, false)", (name, value))


def tables(session: Session) -> list[str]:
    """Return the tables that belong to the application, quoted and with their schema.

    Materialised views are left out: a dump holds their definition alone, and a restore computes them anew.
    """
    return [row["name"] for row in session.query(_TABLES)]


def fingerprint(session: Session) -> dict[str, dict[str, Any]]:
    """Return the row count and content hash of every table.

    The hash is the sum of a 64-bit hash of each row's text, so it does not depend on the order of rows. Raises
    `AccessDenied` (42501) where row-level security would hide rows or a table may not be read.
    """
    settle(session)
    found: dict[str, dict[str, Any]] = {}
    for name in tables(session):
        # With the star: a plain t would be a column of that name, if the table has one.
        row = session.query(
            f"SELECT count(*) AS rows, coalesce(sum(hashtextextended((t.*)::text, 0)::numeric), 0)::text AS hash "  # noqa: S608
            f"FROM ONLY {name} t"
        )[0]
        found[name] = {"rows": row["rows"], "hash": row["hash"]}
    return found


def change_counters(session: Session) -> dict[str, int]:
    """Return how many rows of each table were inserted, updated or deleted since the server's statistics began."""
    return {row["name"]: int(row["changes"]) for row in session.query(_COUNTERS)}
