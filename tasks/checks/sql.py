"""The answer of the database to a query."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from tasks.checks import Check
from tasks.domain.condition import RowsCondition
from tasks.domain.outcome import Reading
from tasks.domain.target import Target


class Sql(RowsCondition, Check):
    """Runs one query on a read-only connection and judges what comes back."""

    kind: Literal["sql"] = "sql"
    """Which kind of check this is."""
    query: Annotated[str, Field(min_length=1, examples=["SELECT count(*) FROM task WHERE status = 'stuck'"])]
    """The query, run as it is written."""
    params: dict[str, str] = Field(default_factory=dict, examples=[{"version": "{version}"}])
    """Values for ``%(name)s`` in the query, where a percent sign itself is then written ``%%``."""
    dsn: str = "{dsn}"
    """The database; by default that of the system."""

    def look(self, target: Target) -> Reading:
        """Return whether the rows are as they must be; no row where a value is needed is unknown."""
        params = {name: target.fill(value) for name, value in self.params.items()}
        with target.world.databases.session(
            target.fill(self.dsn), read_only=True, statement_timeout=self.timeout
        ) as session:
            return self.judge_rows(session.query(self.query, params))
