"""The plan of a query."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from tasks.checks import Check
from tasks.domain.condition import all_of, held
from tasks.domain.errors import GoliveError, TimedOut
from tasks.domain.kind import Duration
from tasks.domain.outcome import Reading, failed, judge_limit, unknown
from tasks.domain.ports import Session
from tasks.domain.relation import relation, rows_up_to
from tasks.domain.sql_text import split
from tasks.domain.target import Target
from tasks.domain.units import show_seconds

_SHOWN = ("Node Type", "Index Name", "Relation Name")
# The plan names the partition, and of an index its part.
_PARTS = """
SELECT n.nspname::text AS schema, c.relname::text AS name FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.oid = to_regclass(%(name)s) OR c.oid IN (SELECT relid FROM pg_partition_tree(to_regclass(%(name)s)))
"""
_STATISTICS = """
SELECT EXISTS (SELECT FROM pg_stats s JOIN pg_namespace n ON n.nspname = s.schemaname
               JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = s.tablename
               WHERE c.oid = %(oid)s OR c.oid IN (SELECT relid FROM pg_partition_tree(%(oid)s::oid::regclass)))
"""


class Explain(Check):
    """Looks how PostgreSQL plans a query, and how long it runs, on a table that has data enough to tell."""

    kind: Literal["explain"] = "explain"
    """Which kind of check this is."""
    query: Annotated[str, Field(min_length=1, examples=["SELECT * FROM orders WHERE customer_id = 42"])]
    """One query, planned as it is written, and run only if ``within`` is given."""
    params: dict[str, str] = Field(default_factory=dict, examples=[{"customer": "42"}])
    """Values for ``%(name)s`` in the query, where a percent sign itself is then written ``%%``."""
    table: Annotated[str, Field(min_length=1, examples=["public.orders"])]
    """The table that it is about, as in SQL: with its schema unless that is in the search path."""
    index: str | None = Field(default=None, examples=["public.idx_orders_customer"])
    """The index that the plan must use."""
    seq_scan: bool = False
    """Whether the plan may read that table from end to end."""
    within: Duration | None = None
    """The longest that planning and running may take."""
    min_rows: Annotated[int, Field(ge=1)] = 10_000
    """How many rows the table must have; with fewer it is unknown, since there an index is rightly not used."""
    dsn: str = "{dsn}"
    """The database; by default that of the system."""

    @field_validator("query")
    @classmethod
    def _one_statement(cls, query: str) -> str:
        try:
            count = len(split(query, "query"))
        except GoliveError as error:
            raise ValueError(str(error)) from error
        if count != 1:
            raise ValueError(f"{count} statements; one is needed")
        return query

    def look(self, target: Target) -> Reading:
        """Return whether the plan is as it must be; too few rows, or no statistics, leave it unknown."""
        params = {name: target.fill(value) for name, value in self.params.items()}
        with target.world.databases.session(
            target.fill(self.dsn), read_only=True, statement_timeout=self.timeout
        ) as session:
            table = relation(session, self.table)
            rows = rows_up_to(session, table, self.min_rows)
            if rows < self.min_rows:
                return unknown(f"{self.table} has {rows} rows; {self.min_rows} are needed to judge a plan")
            if not session.value(_STATISTICS, {"oid": table.oid}):
                return unknown(f"{self.table} has no statistics that golive can see; run ANALYZE")
            parts = {(row["schema"], row["name"]) for row in session.query(_PARTS, {"name": table.sql})}
            indexes = {row["name"] for row in session.query(_PARTS, {"name": self.index})} if self.index else set()
            if self.index and not indexes:
                return failed(f"index {self.index} is not there")
            began = target.world.clock.monotonic()
            try:
                explained = self._explain(session, params)
            except TimedOut:
                took = target.world.clock.monotonic() - began
                if self.within is None or took < self.within:
                    raise
                return failed(f"given up after {show_seconds(took)} ≤ {show_seconds(self.within)}", unit="ms")
        return self._judge(explained, parts, indexes)

    def _explain(self, session: Session, params: Mapping[str, str]) -> dict[str, Any]:
        options = "VERBOSE, FORMAT JSON" + (", ANALYZE, TIMING off" if self.within is not None else "")
        explained: dict[str, Any] = session.value(f"EXPLAIN ({options}) {self.query}", params)[0]
        return explained

    def _judge(self, explained: dict[str, Any], parts: set[tuple[str, str]], indexes: set[str]) -> Reading:
        nodes = list(_nodes(explained["Plan"]))
        used = sorted({node["Index Name"] for node in nodes if "Index Name" in node})
        touching = [node for node in nodes if (node.get("Schema"), node.get("Relation Name")) in parts]
        scanned = sorted({node["Relation Name"] for node in touching if node["Node Type"] == "Seq Scan"})
        plan = [" ".join(str(node[key]) for key in _SHOWN if key in node) for node in nodes]
        if not touching:
            return unknown(f"the plan does not touch {self.table}", detail={"plan": plan})
        readings = []
        if self.index:
            shown = ", ".join(used) or "no index"
            readings.append(held(f"the plan uses {shown}, expected {self.index}", indexes & set(used)))
        if not self.seq_scan:
            words = f"reads {', '.join(scanned) or f'no part of {self.table}'} from end to end"
            readings.append(held(f"the plan {words}", not scanned))
        took = explained.get("Planning Time", 0) + explained.get("Execution Time", 0)
        if self.within is not None:
            readings.append(judge_limit(round(took, 1), self.within * 1000, "ms", "planned and run in"))
        return all_of(readings or [unknown("nothing was asked of the plan")], detail={"plan": plan})


def _nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for inner in node.get("Plans", []):
        yield from _nodes(inner)
