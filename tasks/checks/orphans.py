"""Rows whose parent is missing."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from tasks.checks import Check
from tasks.domain.outcome import Reading
from tasks.domain.relation import judge_offenders, quoted, refuse_hidden_rows, relation_and_column
from tasks.domain.target import Target


class Orphans(Check):
    """Counts the rows that refer to a row that is not there, as before a foreign key is added."""

    kind: Literal["orphans"] = "orphans"
    """Which kind of check this is."""
    child: Annotated[str, Field(examples=["public.order_item.order_id"])]
    """The column that refers, as ``table.column``, with the schema unless that is in the search path."""
    parent: Annotated[str, Field(examples=["public.orders.id"])]
    """The column that it refers to, in the same form."""
    at_most: Annotated[int, Field(ge=0)] = 0
    """How many there may be."""
    min_rows: Annotated[int, Field(ge=0)] = 1
    """How many rows must refer to anything for the answer to count; 0 where the table may be empty."""
    dsn: str = "{dsn}"
    """The database; by default that of the system."""

    def look(self, target: Target) -> Reading:
        """Return how many rows are orphans; null refers to nothing, and a table without rows is unknown."""
        with target.world.databases.session(
            target.fill(self.dsn), read_only=True, statement_timeout=self.timeout
        ) as session:
            refuse_hidden_rows(session)
            child, referring = relation_and_column(session, self.child)
            parent, referred = relation_and_column(session, self.parent)
            column = f"child.{quoted(referring)}"
            missing = f"NOT EXISTS (SELECT FROM {parent.sql} parent WHERE parent.{quoted(referred)} = {column})"
            query = f"SELECT count(*) FROM {child.sql} child WHERE {column} IS NOT NULL"  # noqa: S608 - quoted
            rows = session.value(query)
            orphans = session.value(f"{query} AND {missing}")
        what = f"rows of {self.child} without {self.parent}:"
        return judge_offenders(orphans, self.at_most, what, rows=rows, min_rows=self.min_rows)
