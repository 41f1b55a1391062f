"""A constraint of a table."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from tasks.checks import Check
from tasks.domain.condition import all_of, held
from tasks.domain.outcome import Outcome, Reading, failed, unknown
from tasks.domain.ports import Row
from tasks.domain.target import Target

Type = Literal["primary_key", "unique", "check", "foreign_key", "exclusion"]
OnDelete = Literal["no_action", "restrict", "cascade", "set_null", "set_default"]

_TYPES = {"p": "primary_key", "u": "unique", "c": "check", "f": "foreign_key", "x": "exclusion"}
_ON_DELETE = {"a": "no_action", "r": "restrict", "c": "cascade", "n": "set_null", "d": "set_default"}
# conenforced came with PostgreSQL 18.
_CONSTRAINTS = """
SELECT c.conname::text AS name, c.contype::text AS type, c.convalidated AS validated,
       coalesce((to_jsonb(c) ->> 'conenforced')::boolean, true) AS enforced, c.confdeltype::text AS on_delete,
       c.confrelid::regclass::text AS "references", c.confrelid = to_regclass(%(references)s::text) AS leads_there,
       ARRAY(SELECT a.attname::text FROM pg_attribute a WHERE a.attrelid = c.conrelid AND a.attnum = ANY (c.conkey)
             ORDER BY 1) AS columns,
       pg_get_constraintdef(c.oid) AS definition
FROM pg_constraint c WHERE c.conrelid = to_regclass(%(table)s) AND c.contype IN ('p', 'u', 'c', 'f', 'x') ORDER BY 1
"""


class Constraint(Check):
    """Looks whether a table has a constraint, of the right type, and one that holds for all of its rows."""

    kind: Literal["constraint"] = "constraint"
    """Which kind of check this is."""
    table: Annotated[str, Field(min_length=1, examples=["public.orders"])]
    """The table, as in SQL: with its schema unless that is in the search path, quoted if it has capitals."""
    constraint: str | None = Field(default=None, examples=["orders_customer_id_fkey"])
    """The constraint's name; without it any that is of ``type`` over ``columns`` will do."""
    type: Type | None = None
    """What it must be; not null is a matter of the kind ``table``."""
    columns: tuple[str, ...] = Field(default=(), examples=[["customer_id"]])
    """The columns that it must be over, in any order."""
    references: str | None = Field(default=None, examples=["public.customer"])
    """The table that a foreign key must lead to."""
    on_delete: OnDelete | None = None
    """What a foreign key must do when the row that it leads to is deleted."""
    validated: bool = True
    """Whether it must have been checked for the rows that were there before it (not ``NOT VALID``), and be enforced."""
    dsn: str = "{dsn}"
    """The database; by default that of the system."""

    @model_validator(mode="after")
    def _says_which(self) -> Self:
        if self.constraint is None and self.type is None:
            raise ValueError("constraint (its name) or type is needed")
        if (self.references or self.on_delete) and self.type not in {None, "foreign_key"}:
            raise ValueError("references and on_delete are of a foreign key")
        return self

    def look(self, target: Target) -> Reading:
        """Return whether there is such a constraint; a table that is not there leaves it unknown."""
        with target.world.databases.session(
            target.fill(self.dsn), read_only=True, statement_timeout=self.timeout
        ) as session:
            if not session.value("SELECT to_regclass(%s) IS NOT NULL", (self.table,)):
                return unknown(f"{self.table} is not there")
            rows = session.query(_CONSTRAINTS, {"table": self.table, "references": self.references})
        found = [self._judge(row) for row in rows if self._is_meant(row)]
        if not found:
            what = self.constraint or " ".join(
                [str(self.type), *([f"({', '.join(self.columns)})"] * bool(self.columns))]
            )
            present = {row["name"]: row["definition"] for row in rows}
            return failed(f"{self.table} has no constraint {what}", detail={"constraints": present})
        return next((reading for reading in found if reading.outcome is Outcome.PASSED), found[0])

    def _is_meant(self, row: Row) -> bool:
        if self.constraint is not None:
            return bool(row["name"] == self.constraint)
        over = not self.columns or sorted(self.columns) == row["columns"]
        return over and _TYPES[row["type"]] == self.type

    def _judge(self, row: Row) -> Reading:
        name, kind, columns = row["name"], _TYPES[row["type"]], row["columns"]
        readings = [held(f"constraint {name} is {kind} ({', '.join(columns)})", self.type in {None, kind})]
        if self.columns:
            shown = f"({', '.join(columns)}) = ({', '.join(sorted(self.columns))})"
            readings.append(held(f"{name} is over {shown}", sorted(self.columns) == columns))
        if self.references is not None:
            readings.append(held(f"{name} leads to {row['references']} = {self.references}", row["leads_there"]))
        if self.on_delete is not None:
            does = _ON_DELETE.get(row["on_delete"], "nothing")
            readings.append(held(f"{name} on delete {does} = {self.on_delete}", does == self.on_delete))
        if self.validated:
            words = "validated" if row["validated"] else "not validated"
            words = words if row["enforced"] else "not enforced"
            readings.append(held(f"{name} is {words}", row["validated"] and row["enforced"]))
        return all_of(readings, detail={"definition": row["definition"]})
