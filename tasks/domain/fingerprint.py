"""What a database holds: a row count and content hash for each table, and how far each sequence has come."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from typing import Any

from tasks.domain.errors import SqlFailed
from tasks.domain.ports import Session
from tasks.domain.row_hash import Column, row_hash
from tasks.domain.turn import FENCE

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

_TABLES = f"""
    SELECT format('%I.%I', n.nspname, c.relname) AS name
    FROM pg_class c
    JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind = 'r' AND c.relpersistence <> 't' AND c.relname <> '{FENCE}'
      AND n.nspname NOT IN ('pg_catalog', 'information_schema', '{FENCE}') AND n.nspname !~ '^pg_(toast|temp)'
      AND NOT EXISTS (
          SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e'
      )
    ORDER BY 1
"""  # noqa: S608 - golive's own name

_COLUMNS = """
    SELECT format('%%I', a.attname) AS name,
           CASE WHEN t.typnamespace = 'pg_catalog'::regnamespace THEN t.typname ELSE '' END AS type
    FROM pg_attribute a
    JOIN pg_type t ON t.oid = a.atttypid
    WHERE a.attrelid = %s::regclass AND a.attnum > 0 AND NOT a.attisdropped
    ORDER BY a.attnum
"""
_BY_COLUMNS = 140000
"""The server version from which all functions of `row_hash` are there. They are not documented, but as little free to
change between versions as hash partitions are, which outlive pg_upgrade."""

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

_COUNTERS = f"""
    SELECT format('%I.%I', schemaname, relname) AS name, n_tup_ins + n_tup_upd + n_tup_del AS changes
    FROM pg_stat_all_tables
    WHERE schemaname NOT IN ('pg_catalog', 'information_schema', '{FENCE}') AND schemaname !~ '^pg_(toast|temp)'
      AND relname <> '{FENCE}'
       OR relid = 'pg_catalog.pg_largeobject'::regclass AND EXISTS (SELECT FROM pg_largeobject_metadata)
"""  # noqa: S608 - golive's own name


def settle(session: Session) -> None:
    """Set what the text of a row depends on, so that hashes from two servers can be compared."""
    for name, value in _SETTINGS.items():
        session.query("SELECT set_config(%s, %s, false)", (name, value))


def tables(session: Session) -> list[str]:
    """Return the tables that belong to the application, quoted and with their schema.

    Materialised views are left out: a dump holds their definition alone, and a restore computes them anew.
    """
    return [row["name"] for row in session.query(_TABLES)]


def fingerprint(session: Session, like: Fingerprint | None = None) -> dict[str, dict[str, Any]]:
    """Return the row count and content hash of every table, and of all large objects (each below 1 GB) as one.

    The hash is the sum of a 64-bit hash of each row, so it does not depend on the order of rows. Where the server can,
    a row is hashed ``by`` its ``columns`` one after the other, which takes a third of the time, else by its text. What
    is compared must be hashed alike: each table as in ``like``, the other side. Raises `AccessDenied` (42501) where
    row-level security would hide rows or a table may not be read.
    """
    settle(session)
    found: dict[str, dict[str, Any]] = {}
    for name in tables(session):
        by = _hashed_by(session) if like is None or name not in like else str(like[name].get("by", "text"))
        columns = _columns(session, name) if by == "columns" else []
        try:
            row = session.query(
                f"SELECT count(*) AS rows, coalesce(sum({row_hash(columns)}), 0)::text AS hash FROM ONLY {name} t"  # noqa: S608
            )[0]
        except SqlFailed as error:
            error.seen = f"{name} cannot be read: {error.seen}"
            raise
        found[name] = {"rows": row["rows"], "hash": row["hash"]} | ({"by": by} if columns else {})
    objects = session.query(_LARGE_OBJECTS)[0]
    if objects["rows"]:
        found[LARGE_OBJECTS] = {"rows": objects["rows"], "hash": objects["hash"]}
    return found


def rows_of(session: Session, names: Collection[str]) -> dict[str, Counter[int]]:
    """Return the hash of each row of some small tables, those that are there, with how often it occurs."""
    settle(session)
    found = {}
    for name in tables(session):
        if name in names:
            one = row_hash(_columns(session, name) if _hashed_by(session) == "columns" else [])
            rows = session.query(f"SELECT {one} AS hash FROM ONLY {name} t")  # noqa: S608 - names as the server quotes
            found[name] = Counter(row["hash"] for row in rows)
    return found


def _hashed_by(session: Session) -> str:
    return "columns" if session.server_version >= _BY_COLUMNS else "text"


def _columns(session: Session, table: str) -> list[Column]:
    return [Column(**row) for row in session.query(_COLUMNS, (table,))]


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
