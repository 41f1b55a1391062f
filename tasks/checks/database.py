"""The database, its server and what golive may do in it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from tasks.checks import Check
from tasks.domain.condition import all_of, held
from tasks.domain.errors import AccessDenied
from tasks.domain.outcome import Outcome, Reading, failed
from tasks.domain.ports import Session
from tasks.domain.target import Target
from tasks.domain.units import show_bytes

Right = Literal["dump", "own", "create", "create_database"]

# Row security that applies to the user would leave rows out of a dump; pg_dump refuses then.
_UNREADABLE = """
SELECT c.oid::regclass::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'S', 'm', 'v') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
  AND NOT (has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT')
           AND NOT row_security_active(c.oid))
ORDER BY 1
"""
_NOT_OWNED = """
SELECT c.oid::regclass::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'S', 'm', 'v') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
  AND NOT pg_has_role(c.relowner, 'USAGE')
ORDER BY 1
"""
_NO_CREATE = """
SELECT coalesce(current_schema(), '(none in search_path)')
WHERE current_schema() IS NULL OR NOT has_schema_privilege(current_schema(), 'CREATE')
"""
_NO_CREATEDB = "SELECT 'this server' FROM pg_roles WHERE rolname = current_user AND NOT (rolcreatedb OR rolsuper)"

# What this session set for itself does not count, nor would it let itself be asked for otherwise.
_WRITES_NOTHING = """
SELECT CASE WHEN pg_is_in_recovery() THEN 'the server is a standby, or still recovering'
            ELSE 'default_transaction_read_only is set for the server, the database or the user' END
WHERE pg_is_in_recovery() OR (SELECT reset_val FROM pg_settings WHERE name = 'default_transaction_read_only') = 'on'
"""

_LACKING: dict[Right, tuple[str, str]] = {
    "dump": ("may not read all of", _UNREADABLE),
    "own": ("does not own", _NOT_OWNED),
    "create": ("may not create in schema", _NO_CREATE),
    "create_database": ("may not create databases on", _NO_CREATEDB),
}


class Database(Check):
    """Looks whether the database lets golive in, is of a fitting version and grants the rights that are needed."""

    kind: Literal["database"] = "database"
    """Which kind of check this is."""
    dsn: str = "{dsn}"
    """The database; by default that of the system."""
    at_least: Annotated[int, Field(ge=9, le=99)] = 13
    """The lowest major version of the server."""
    rights: tuple[Right, ...] = ("dump",)
    """What golive must be able to do: ``dump`` (read every row of every table), ``own`` (every table, to alter it),
    ``create`` (tables), ``create_database`` (for a scratch copy on the same server). All but the first need a database
    that can be written to."""

    def look(self, target: Target) -> Reading:
        """Return whether version and rights suffice; a refused login is a failure, an unreachable server unknown."""
        try:
            with target.world.databases.session(
                target.fill(self.dsn), read_only=True, statement_timeout=self.timeout
            ) as session:
                return self._judge(session)
        except AccessDenied as denied:
            return failed(f"access denied: {target.world.secrets.mask(denied.seen)}")

    def _judge(self, session: Session) -> Reading:
        major = session.server_version // 10000
        user = session.value("SELECT current_user")
        size = session.value("SELECT pg_database_size(current_database())")
        readings = [held(f"server version {major} ≥ {self.at_least}", major >= self.at_least)]
        detail: dict[str, object] = {"server_version": session.server_version, "user": user, "bytes": size}
        for right in self.rights:
            words, query = _LACKING[right]
            lacking = [next(iter(row.values())) for row in session.query(query)]
            detail[right] = lacking or "granted"
            if lacking:
                shown = ", ".join(lacking[:5]) + (f" and {len(lacking) - 5} more" if len(lacking) > 5 else "")
                readings.append(failed(f"{user} {words} {shown}"))
            else:
                readings.append(held(f"right to {right.replace('_', ' ')}", holds=True))
        if set(self.rights) - {"dump"} and (why := session.value(_WRITES_NOTHING)):
            readings.append(failed(f"nothing can be written: {why}"))
        found = all_of(readings, detail=detail)
        if found.outcome is not Outcome.PASSED:
            return found
        return Reading(found.outcome, f"{found.seen}; {show_bytes(size)}", value=size, unit="bytes", detail=detail)
