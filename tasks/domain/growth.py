"""What a migration costs the server: bytes on disk, by table, and bytes of write-ahead log."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tasks.domain.ports import Session
from tasks.domain.turn import FENCE

# A partitioned table has no storage of its own, and what belongs to an extension is not the application's.
_TABLES = f"""
    SELECT format('%I.%I', n.nspname, c.relname) AS name, pg_total_relation_size(c.oid) AS bytes
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'm') AND c.relpersistence <> 't' AND c.relname <> '{FENCE}'
      AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^pg_(toast|temp)'
      AND NOT EXISTS (
          SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e'
      )
"""  # noqa: S608 - golive's own name
_SERVER = """
    SELECT pg_database_size(current_database()) AS bytes, current_setting('full_page_writes') AS full_pages,
           (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::bigint AS wal
"""


@dataclass(frozen=True)
class Extent:
    """How large a database and each of its tables (indexes and TOAST included) are, and how far the log has come."""

    database: int
    tables: Mapping[str, int]
    wal: int
    full_pages: bool


def extent(session: Session) -> Extent:
    """Return the present extent of the session's database, in bytes; the log is the whole server's."""
    server = session.query(_SERVER)[0]
    tables = {row["name"]: int(row["bytes"]) for row in session.query(_TABLES)}
    return Extent(int(server["bytes"]), tables, int(server["wal"]), server["full_pages"] == "on")


def growth(before: Extent, after: Extent, *, shared: bool) -> dict[str, Any]:
    """Return what happened between two extents, for JSON: bytes before and after, of each table that changed.

    ``shared`` says that others write to the same server too, whose part of the log is counted with the migration's. On
    a server that does not write full pages the log is shorter than it will be where they are written.
    """
    names = sorted(before.tables.keys() | after.tables.keys())
    changed = {
        name: {"before": before.tables.get(name, 0), "after": after.tables.get(name, 0)}
        for name in names
        if before.tables.get(name) != after.tables.get(name)
    }
    return {
        "database": {"before": before.database, "after": after.database},
        "tables": changed,
        "wal": after.wal - before.wal,
        "full_page_writes": after.full_pages,
        "server_shared": shared,
    }
