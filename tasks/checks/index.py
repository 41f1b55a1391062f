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
       i.indisvalid AND i.indisready AS valid, i.indisunique AS "unique", pg_get_indexdef(i.indexrelid) AS definition
FROM pg_index i WHERE i.indexrelid = to_regclass(%(index)s)
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
        return all_of(readings, detail={"definition": row["definition"]})
