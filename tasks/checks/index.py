"""An index."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from tasks.checks import Check
from tasks.domain.condition import all_of, held
from tasks.domain.outcome import Reading, failed
from tasks.domain.target import Target

_INDEX = """
SELECT i.indrelid = to_regclass(%(table)s) AS here, i.indrelid::regclass::text AS "table",
       i.indisvalid AND i.indisready AS valid, i.indisunique AS "unique", pg_get_indexdef(i.indexrelid) AS definition,
       m.amname::text AS method, i.indpred IS NOT NULL AS partial,
       ARRAY(SELECT coalesce(a.attname, pg_get_indexdef(i.indexrelid, k.at::int, true)) FROM unnest(i.indkey)
             WITH ORDINALITY AS k (num, at) LEFT JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.num
             WHERE k.at <= i.indnkeyatts ORDER BY k.at) AS columns
FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am m ON m.oid = c.relam
WHERE i.indexrelid = to_regclass(%(index)s)
"""


class Index(Check):
    """Looks whether an index is there and valid; one whose concurrent build broke off is not."""

    kind: Literal["index"] = "index"
    """Which kind of check this is."""
    index: Annotated[str, Field(min_length=1, examples=["idx_task_status"])]
    """The index, as in SQL: with its schema unless that is in the search path, quoted if it has capitals."""
    table: str | None = None
    """The table that it must be on."""
    unique: bool | None = None
    """Whether it must be unique."""
    columns: tuple[str, ...] | None = Field(default=None, examples=[["task_id", "lower(title)"]])
    """The columns, by their bare names, or expressions as PostgreSQL writes them, that it must be over, in order."""
    method: str | None = Field(default=None, examples=["gin"])
    """The access method that it must have."""
    partial: bool | None = None
    """Whether it must be over a part of the rows only."""
    dsn: str = "{dsn}"
    """The database; by default that of the system."""

    def look(self, target: Target) -> Reading:
        """Return whether the index is there, valid, and on its table."""
        with target.world.databases.session(
            target.fill(self.dsn), read_only=True, statement_timeout=self.timeout
        ) as session:
            rows = session.query(_INDEX, {"table": self.table, "index": self.index})
        if not rows:
            return failed(f"index {self.index} is not there")
        row = rows[0]
        readings = [held(f"index {self.index} is {'valid' if row['valid'] else 'invalid'}", row["valid"])]
        if self.table is not None:
            readings.append(held(f"it is on {row['table']} = {self.table}", row["here"]))
        if self.unique is not None:
            words = "unique" if row["unique"] else "not unique"
            readings.append(held(f"it is {words}", row["unique"] == self.unique))
        if self.columns is not None:
            shown = f"({', '.join(row['columns'])}) = ({', '.join(self.columns)})"
            readings.append(held(f"it is over {shown}", list(self.columns) == row["columns"]))
        if self.method is not None:
            readings.append(held(f"its method is {row['method']} = {self.method}", row["method"] == self.method))
        if self.partial is not None:
            words = "partial" if row["partial"] else "not partial"
            readings.append(held(f"it is {words}", row["partial"] == self.partial))
        return all_of(readings, detail={"definition": row["definition"]})
