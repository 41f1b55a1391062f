"""Tables of golive's own in a database that it migrates: in a schema of its own where it may make one."""

from __future__ import annotations

from tasks.domain.ports import Session
from tasks.domain.relation import quoted
from tasks.domain.turn import FENCE

_PLACE = """
SELECT n.nspname AS schema, c.relname AS name FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.oid = coalesce(to_regclass(%s), to_regclass(%s))
"""
_MAY = "SELECT has_database_privilege(current_database(), 'CREATE')"


def there(session: Session, name: str) -> str:
    """Return a table's name, quoted and with its schema, or an empty text if it is not there."""
    rows = session.query(_PLACE, (f"{FENCE}.{name}", name))
    return quoted(rows[0]["schema"], rows[0]["name"]) if rows else ""


def made(session: Session, name: str, columns: str) -> str:
    """Return a table's name, quoted and with its schema, making both if need be."""
    if found := there(session, name):
        return found
    place = name
    if session.value(_MAY):
        session.execute(f"CREATE SCHEMA IF NOT EXISTS {FENCE}")
        place = f"{FENCE}.{name}"
    session.execute(f"CREATE TABLE IF NOT EXISTS {place} ({columns})")
    return there(session, name)
