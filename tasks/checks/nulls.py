"""Columns that must hold a value in every row."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from tasks.checks import Check
from tasks.domain.condition import all_of
from tasks.domain.outcome import Reading
from tasks.domain.relation import judge_offenders, refuse_hidden_rows, relation
from tasks.domain.target import Target


class Nulls(Check):
    """Counts the rows in which columns are null, as after a backfill or before NOT NULL is added."""

    kind: Literal["nulls"] = "nulls"
    """Which kind of check this is."""
    table: Annotated[str, Field(min_length=1, examples=["public.orders"])]
    """The table, as in SQL: with its schema unless that is in the search path, quoted if it has capitals."""
    columns: Annotated[tuple[str, ...], Field(min_length=1, examples=[["customer_id", "created_at"]])]
    """The columns, by their bare names; each is counted by itself."""
    at_most: Annotated[int, Field(ge=0)] = 0
    """In how many rows each may be null."""
    min_rows: Annotated[int, Field(ge=0)] = 1
    """How many rows the table must have for the answer to count; 0 where it may be empty."""
    dsn: str = "{dsn}"
    """The database; by default that of the system."""

    def look(self, target: Target) -> Reading:
        """Return in how many rows each column is null; a table without rows is unknown."""
        with target.world.databases.session(
            target.fill(self.dsn), read_only=True, statement_timeout=self.timeout
        ) as session:
            refuse_hidden_rows(session)
            table = relation(session, self.table)
            counts = ", ".join(
                f"count(*) - count({table.column(name)}) AS n{at}" for at, name in enumerate(self.columns)
            )
            row = session.query(f"SELECT count(*) AS rows, {counts} FROM {table.sql}")[0]  # noqa: S608 - quoted
        return all_of(
            judge_offenders(
                row[f"n{at}"], self.at_most, f"{self.table}.{name} is null in", rows=row["rows"], min_rows=self.min_rows
            )
            for at, name in enumerate(self.columns)
        )
