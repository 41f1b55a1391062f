"""Rows that are equal where they should differ."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from tasks.checks import Check
from tasks.domain.outcome import Reading
from tasks.domain.relation import judge_offenders, refuse_hidden_rows, relation
from tasks.domain.target import Target


class Duplicates(Check):
    """Counts the rows beyond the first that are equal in some columns, as before a unique constraint is added."""

    kind: Literal["duplicates"] = "duplicates"
    """Which kind of check this is."""
    table: Annotated[str, Field(min_length=1, examples=["public.account"])]
    """The table, as in SQL: with its schema unless that is in the search path, quoted if it has capitals."""
    columns: Annotated[tuple[str, ...], Field(min_length=1, examples=[["tenant_id", "email"]])]
    """The columns, by their bare names, that must differ when taken together; null differs from all, as for UNIQUE."""
    at_most: Annotated[int, Field(ge=0)] = 0
    """How many rows too many there may be."""
    min_rows: Annotated[int, Field(ge=0)] = 1
    """How many rows without null in them there must be for the answer to count; 0 where the table may be empty."""
    dsn: str = "{dsn}"
    """The database; by default that of the system."""

    def look(self, target: Target) -> Reading:
        """Return how many rows are too many; a table without rows is unknown."""
        with target.world.databases.session(
            target.fill(self.dsn), read_only=True, statement_timeout=self.timeout
        ) as session:
            refuse_hidden_rows(session)
            table = relation(session, self.table)
            columns = [table.column(name) for name in self.columns]
            values, filled = ", ".join(columns), " AND ".join(f"{column} IS NOT NULL" for column in columns)
            row = session.query(
                "SELECT coalesce(sum(n), 0)::bigint AS rows, coalesce(sum(n - 1), 0)::bigint AS surplus "  # noqa: S608 - quoted
                f"FROM (SELECT count(*) AS n FROM {table.sql} WHERE {filled} GROUP BY {values}) groups"
            )[0]
        what = f"duplicates in {self.table} over ({', '.join(self.columns)}):"
        return judge_offenders(row["surplus"], self.at_most, what, rows=row["rows"], min_rows=self.min_rows)
