"""Times that have not come yet."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from tasks.checks import Check
from tasks.domain.condition import all_of
from tasks.domain.kind import Duration
from tasks.domain.outcome import Reading, unknown
from tasks.domain.ports import Session
from tasks.domain.relation import judge_offenders, quoted, refuse_hidden_rows, relation_and_column
from tasks.domain.target import Target
from tasks.domain.units import show_seconds

_NOW = "(clock_timestamp() + make_interval(secs => %(tolerance)s))"
_LOCAL_NOW = f"({_NOW} AT TIME ZONE %(timezone)s)"
_LIMITS = {
    "timestamp with time zone": _NOW,
    "timestamp without time zone": _LOCAL_NOW,
    "date": f"{_LOCAL_NOW}::date",
}


class FutureTimestamps(Check):
    """Counts times of what has happened that lie in the future, by the clock of the database's server."""

    kind: Literal["future_timestamps"] = "future_timestamps"
    """Which kind of check this is."""
    columns: Annotated[tuple[str, ...], Field(min_length=1, examples=[["public.orders.created_at"]])]
    """The columns, each as ``table.column``, with the schema unless that is in the search path."""
    tolerance: Duration = 60.0
    """How far ahead of the server's clock a time may be."""
    timezone: str = "UTC"
    """The time zone of columns that do not say theirs."""
    at_most: Annotated[int, Field(ge=0)] = 0
    """How many there may be of each column."""
    min_rows: Annotated[int, Field(ge=0)] = 1
    """How many times a column must hold for the answer to count; 0 where the table may be empty."""
    dsn: str = "{dsn}"
    """The database; by default that of the system."""

    def look(self, target: Target) -> Reading:
        """Return how many times of each column lie ahead; a column without any is unknown."""
        with target.world.databases.session(
            target.fill(self.dsn), read_only=True, statement_timeout=self.timeout
        ) as session:
            refuse_hidden_rows(session)
            return all_of([self._judge(session, name) for name in self.columns])

    def _judge(self, session: Session, name: str) -> Reading:
        table, column = relation_and_column(session, name)
        limit = _LIMITS.get(table.columns[column])
        if limit is None:
            return unknown(f"{name} is {table.columns[column]}, which is no time")
        time = quoted(column).replace("%", "%%")
        query = f"SELECT count({time}) AS rows, count(*) FILTER (WHERE {time} > {limit}) AS ahead FROM "  # noqa: S608 - quoted
        row = session.query(
            query + table.sql.replace("%", "%%"), {"tolerance": self.tolerance, "timezone": self.timezone}
        )[0]
        what = f"{name} more than {show_seconds(self.tolerance)} ahead in"
        return judge_offenders(row["ahead"], self.at_most, what, rows=row["rows"], min_rows=self.min_rows)
