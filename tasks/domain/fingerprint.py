"""What a database holds: a row count and content hash for each table, and how far each sequence has come."""

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

LARGE_OBJECTS = "pg_catalog.pg_largeobject"
"""The name under which all large objects together count as one table, if there are any."""

# Not from pg_largeobject itself, which only a superuser may read.
_LARGE_OBJECTS = """
    SELECT count(*) AS rows,
           coalesce(sum(hashtextextended(oid::text || ' ' || md5(lo_get(oid)), 0)::numeric), 0)::text AS hash
    FROM pg_largeobject_metadata
"""

_SEQUENCES = """
    SELECT format('%I.%I', n.nspname, c.relname) AS name, s.seqincrement AS step
    FROM pg_sequence s
    JOIN pg_class c ON c.oid = s.seqrelid
    JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relpersistence <> 't' AND NOT s.seqcycle
      AND NOT EXISTS (
          SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e'
      )
    ORDER BY 1
"""

_COUNTERS = """
    SELECT format('%I.%I', schemaname, relname) AS name, n_tup_ins + n_tup_upd + n_tup_del AS changes
    FROM pg_stat_all_tables
    WHERE schemaname NOT IN ('pg_catalog', 'information_schema') AND schemaname !~ '^pg_(toast|temp)'
       OR relid = 'pg_catalog.pg_largeobject'::regclass AND EXISTS (SELECT FROM pg_largeobject_metadata)
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
    """Return the row count and content hash of every table, and of all large objects (each below 1 GB) as one.

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
    objects = session.query(_LARGE_OBJECTS)[0]
    if objects["rows"]:
        found[LARGE_OBJECTS] = {"rows": objects["rows"], "hash": objects["hash"]}
    return found


def sequences(session: Session) -> dict[str, int]:
    """Return the next value of every sequence, as it is now whatever the snapshot; those that cycle are left out."""
    found = {}
    for row in session.query(_SEQUENCES):
        now = session.query(f"SELECT last_value, is_called FROM {row['name']}")[0]  # noqa: S608
        found[row["name"]] = now["last_value"] + (row["step"] if now["is_called"] else 0)
    return found


def change_counters(session: Session) -> dict[str, int]:
    """Return how many rows of each table were inserted, updated or deleted since the server's statistics began."""
    return {row["name"]: int(row["changes"]) for row in session.query(_COUNTERS)}
