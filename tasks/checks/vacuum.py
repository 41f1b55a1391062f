"""Whether vacuum keeps up with the tables."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from tasks.checks import Check
from tasks.domain.condition import all_of
from tasks.domain.errors import AccessDenied
from tasks.domain.kind import Duration, Share
from tasks.domain.outcome import Outcome, Reading, failed, passed, unknown
from tasks.domain.ports import Row, Session
from tasks.domain.relation import not_of, quoted
from tasks.domain.target import Target
from tasks.domain.units import show_bytes, show_seconds
from tasks.domain.visibility import hidden

_KEPT = 20
_TABLES = """
SELECT s.relid::regclass::text AS name, s.relid::bigint AS oid,
       s.n_live_tup AS live, s.n_dead_tup AS dead, pg_table_size(s.relid) AS bytes,
       greatest(c.reltuples, 0) AS planned, s.n_mod_since_analyze AS unanalyzed,
       extract(epoch FROM clock_timestamp() - greatest(s.last_vacuum, s.last_autovacuum))::float8 AS vacuumed,
       extract(epoch FROM clock_timestamp() - greatest(s.last_analyze, s.last_autoanalyze))::float8 AS analyzed,
       greatest(s.last_vacuum, s.last_autovacuum)::text AS last_vacuum,
       greatest(s.last_analyze, s.last_autoanalyze)::text AS last_analyze,
       current_setting('track_counts') = 'on' AS counted
FROM pg_stat_user_tables s JOIN pg_class c ON c.oid = s.relid
WHERE c.relkind IN ('r', 'm') AND (%(names)s::text[] = '{}' OR s.relid IN (
    SELECT p.oid FROM unnest(%(names)s::text[]) AS name, LATERAL (
        SELECT to_regclass(name)::oid AS oid UNION SELECT relid::oid FROM pg_partition_tree(to_regclass(name))) p))
ORDER BY s.n_dead_tup DESC
"""
_PGSTATTUPLE = """
SELECT n.nspname::text FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
WHERE e.extname = 'pgstattuple'
"""


class Vacuum(Check):
    """Looks how many dead rows tables hold, and when they were last vacuumed and analyzed."""

    kind: Literal["vacuum"] = "vacuum"
    """Which kind of check this is."""
    tables: tuple[str, ...] = Field(default=(), examples=[["public.orders"]])
    """The tables, as in SQL, each with its partitions; by default all of the database."""
    dead: Annotated[Share, Field(le=1)] = 0.30
    """The most of a table's rows that may be dead, by the server's estimate."""
    min_dead: Annotated[int, Field(ge=0)] = 10_000
    """How many dead rows a table must have at least to be judged by that, or by ``vacuumed``."""
    vacuumed: Duration | None = Field(default=None, examples=["7d"])
    """How long ago a table with so many dead rows may have been vacuumed last."""
    analyzed: Duration | None = Field(default=None, examples=["7d"])
    """How long ago a table may have been analyzed last, if more than a tenth of it has changed since."""
    bloat: Annotated[Share | None, Field(le=1)] = None
    """The most of the space of each of ``tables`` that may be dead or free, as the extension pgstattuple tells it
    (``pgstattuple_approx``), which reads the pages that vacuum has not marked as clean."""
    dsn: str = "{dsn}"
    """The database; by default that of the system."""

    @model_validator(mode="after")
    def _bloat_of_tables(self) -> Self:
        if self.bloat is not None and not self.tables:
            raise ValueError("bloat needs tables: to read all of a database takes too long")
        return self

    def look(self, target: Target) -> Reading:
        """Return which tables vacuum does not keep up with; tables that the server has not counted are unknown."""
        with target.world.databases.session(
            target.fill(self.dsn), read_only=True, statement_timeout=self.timeout
        ) as session:
            gone = not_of(session, self.tables, "rmp")
            rows = session.query(_TABLES, {"names": list(self.tables)})
            bloated = [] if self.bloat is None else [_bloat(session, row, self.bloat) for row in rows]
        if not rows and not gone:
            return unknown("there is no table")
        if not all(row["counted"] for row in rows):
            return unknown("the server counts no rows: track_counts is off")
        uncounted = [row["name"] for row in rows if _is_uncounted(row)]
        readings = [unknown(f"{name} is not a table") for name in gone]
        readings += [
            unknown(f"{name}: its rows were not counted since the statistics were reset") for name in uncounted
        ]
        readings += bloated
        readings += [reading for row in rows if row["name"] not in uncounted for reading in self._judge(row)]
        detail = {row.pop("name"): row for row in map(dict, rows[:_KEPT])}
        if all(reading.outcome is Outcome.PASSED for reading in readings):
            worst = max(rows, key=lambda row: int(row["dead"]))
            return passed(
                f"{len(rows)} tables, the most dead rows: {_dead(worst)} ({show_bytes(worst['bytes'])})",
                value=worst["dead"], unit="dead rows", detail=detail,
            )  # fmt: skip
        return all_of(readings, detail=detail)

    def _judge(self, row: Row) -> list[Reading]:
        readings = []
        if row["dead"] >= self.min_dead:
            share = row["dead"] / max(1, row["live"] + row["dead"])
            outcome = Outcome.PASSED if share <= self.dead else Outcome.FAILED
            seen = f"{_dead(row)} ≤ {self.dead:.0%}, last vacuumed {row['last_vacuum'] or 'never'}"
            readings.append(Reading(outcome, seen, value=round(share * 100, 2), unit="%", limit=self.dead * 100))
            if self.vacuumed is not None:
                readings.append(_age(row, "vacuumed", self.vacuumed))
        if self.analyzed is not None and row["unanalyzed"] > 0.1 * (row["live"] + row["dead"]):
            readings.append(_age(row, "analyzed", self.analyzed))
        return readings or [passed(_dead(row))]


def _bloat(session: Session, row: Row, limit: float) -> Reading:
    schema = session.value(_PGSTATTUPLE)
    if schema is None:
        return unknown(f"bloat of {row['name']} cannot be known: CREATE EXTENSION pgstattuple")
    told = f"SELECT table_len, dead_tuple_len + approx_free_space AS lost FROM {quoted(schema)}.pgstattuple_approx(%s)"  # noqa: S608 - quoted
    try:
        found = session.query(told, (row["oid"],))[0]
    except AccessDenied:
        return hidden(session, f"bloat of {row['name']} is", "pg_stat_scan_tables")
    share = found["lost"] / found["table_len"] if found["table_len"] else 0.0
    outcome = Outcome.PASSED if share <= limit else Outcome.FAILED
    seen = f"{row['name']}: {share:.1%} of {show_bytes(found['table_len'])} are dead or free ≤ {limit:.0%}"
    return Reading(outcome, seen, value=round(share * 100, 2), unit="%", limit=limit * 100)


def _is_uncounted(row: Row) -> bool:
    # Vacuum and analyze count a table's rows themselves.
    touched = row["live"] or row["dead"] or row["last_vacuum"] or row["last_analyze"]
    return row["planned"] > 0 and not touched


def _dead(row: Row) -> str:
    share = row["dead"] / max(1, row["live"] + row["dead"])
    return f"{row['name']} has {row['dead']} dead rows of {row['live'] + row['dead']}, {share:.1%}"


def _age(row: Row, what: str, limit: float) -> Reading:
    age = row[what]
    if age is None:
        return failed(f"{row['name']} was never {what} since the statistics began")
    seen = f"{row['name']} was {what} {show_seconds(age)} ago ≤ {show_seconds(limit)}"
    outcome = Outcome.PASSED if age <= limit else Outcome.FAILED
    return Reading(outcome, seen, value=round(age), unit="s", limit=limit)
