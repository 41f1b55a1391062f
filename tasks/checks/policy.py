"""The policies of row-level security."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from tasks.checks import Check
from tasks.domain.condition import all_of, held
from tasks.domain.outcome import Outcome, Reading, failed, unknown
from tasks.domain.ports import Row
from tasks.domain.target import Target

Verb = Literal["select", "insert", "update", "delete"]
_COMMANDS: dict[Verb, str] = {"select": "r", "insert": "a", "update": "w", "delete": "d"}

# Partitions are left out where a column is asked for: their policies matter only to who names them in a query.
_TABLES = """
SELECT c.oid::regclass::text AS name, c.relrowsecurity AS enabled, c.relforcerowsecurity AS forced,
       row_security_active(c.oid) AS applies_to_golive, current_user::text AS golive,
       (SELECT coalesce(json_agg(json_build_object(
            'name', p.polname, 'command', p.polcmd, 'permissive', p.polpermissive,
            'using', pg_get_expr(p.polqual, c.oid), 'check', pg_get_expr(p.polwithcheck, c.oid))
            ORDER BY p.polname), '[]')
        FROM pg_policy p WHERE p.polrelid = c.oid AND (%(role)s::text IS NULL OR EXISTS (
            SELECT FROM unnest(p.polroles) AS to_role WHERE to_role = 0 OR pg_has_role(%(role)s, to_role, 'USAGE')))
       ) AS policies
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.oid = ANY (ARRAY(SELECT to_regclass(name)::oid FROM unnest(%(tables)s::text[]) AS name))
   OR (c.relkind IN ('r', 'p') AND NOT c.relispartition AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
       AND EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = %(column)s
                   AND a.attnum > 0 AND NOT a.attisdropped))
ORDER BY 1
"""


class Policy(Check):
    """Looks whether row-level security is on for tables, and has policies for the commands that are used on them."""

    kind: Literal["policy"] = "policy"
    """Which kind of check this is."""
    tables: tuple[str, ...] = Field(default=(), examples=[["public.orders", "public.invoice"]])
    """The tables, as in SQL: with their schema unless that is in the search path, quoted if they have capitals."""
    column: str | None = Field(default=None, examples=["tenant_id"])
    """All tables that have this column are looked at as well, so that none that comes later is forgotten."""
    enabled: bool = True
    """Whether it must be on."""
    forced: bool | None = None
    """Whether it must apply to the tables' owner too."""
    commands: tuple[Verb, ...] = ("select", "insert", "update", "delete")
    """The commands that a permissive policy must let through; the others are refused by row-level security itself."""
    role: Annotated[str | None, Field(examples=["app"])] = None
    """The role that those policies must apply to; by default any."""
    dsn: str = "{dsn}"
    """The database; by default that of the system."""

    @model_validator(mode="after")
    def _says_which(self) -> Self:
        if not self.tables and self.column is None:
            raise ValueError("tables or column is needed")
        return self

    def look(self, target: Target) -> Reading:
        """Return which tables lack what; no table with that column is unknown."""
        asked = {"tables": list(self.tables), "column": self.column, "role": self.role}
        with target.world.databases.session(
            target.fill(self.dsn), read_only=True, statement_timeout=self.timeout
        ) as session:
            gone = [name for name in self.tables if session.value("SELECT to_regclass(%s)", (name,)) is None]
            rows = session.query(_TABLES, asked)
        readings = [failed(f"{name} is not there") for name in gone] + [self._judge(row) for row in rows]
        if not readings:
            return unknown(f"no table has a column {self.column}")
        bypassed = [row["name"] for row in rows if row["enabled"] and not row["applies_to_golive"]]
        detail: dict[str, Any] = {row["name"]: row["policies"] for row in rows}
        if bypassed:
            detail["bypassed by golive's own role"] = {"role": rows[0]["golive"], "tables": bypassed}
        found = all_of(readings, detail=detail)
        if bypassed and found.outcome is Outcome.PASSED:
            return Reading(
                found.outcome, f"{found.seen}; golive's own role {rows[0]['golive']} bypasses it", detail=detail
            )
        return found

    def _judge(self, row: Row) -> Reading:
        name = row["name"]
        words = f"{name}: row-level security is {'on' if row['enabled'] else 'off'}"
        readings = [held(words, row["enabled"] == self.enabled)]
        if self.forced is not None:
            forced = "forced" if row["forced"] else "not forced"
            readings.append(held(f"{name}: it is {forced} on the owner", row["forced"] == self.forced))
        if self.enabled:
            having = {policy["command"] for policy in row["policies"] if policy["permissive"]}
            lacking = [verb for verb in self.commands if not having & {"*", _COMMANDS[verb]}]
            shown = f"policies for {', '.join(self.commands)}" if self.commands else "no policy is asked for"
            words = f"no policy for {', '.join(lacking)}" if lacking else shown
            words += f" that applies to {self.role}" if self.role else ""
            readings.append(held(f"{name}: {words}", not lacking))
        return all_of(readings)
