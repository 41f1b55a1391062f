"""Whether indexes are used."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from tasks.checks._counting import Counting, Counts, Since, without_window
from tasks.domain.condition import all_of
from tasks.domain.counters import Window
from tasks.domain.outcome import Outcome, Reading, failed, passed, unknown
from tasks.domain.ports import Row, Session
from tasks.domain.relation import not_of

_KEPT = 30
# An index that enforces something is needed even if nothing reads it; those of partitions are judged one by one.
_INDEXES = """
WITH named AS (
    SELECT p.oid FROM unnest(%(indexes)s::text[]) AS name, LATERAL (
        SELECT to_regclass(name)::oid AS oid UNION SELECT relid::oid FROM pg_partition_tree(to_regclass(name))) p)
SELECT i.indexrelid::bigint::text AS key, i.indexrelid::regclass::text AS name, i.indrelid::regclass::text AS "table",
       i.indisunique OR i.indisexclusion OR i.indisreplident
       OR EXISTS (SELECT FROM pg_constraint k WHERE k.conindid = i.indexrelid) AS enforces,
       s.idx_scan AS scans, s.idx_tup_read AS read, s.idx_tup_fetch AS fetched,
       coalesce(t.seq_scan, 0) + coalesce(t.idx_scan, 0) AS table_scans, t.seq_scan AS seq_scans,
       greatest(c.reltuples, t.n_live_tup, 0)::bigint AS rows, pg_relation_size(i.indexrelid) AS bytes,
       i.indexrelid IN (SELECT oid FROM named) AS named
FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid JOIN pg_stat_user_indexes s ON s.indexrelid = i.indexrelid
JOIN pg_stat_user_tables t ON t.relid = i.indrelid
WHERE i.indexrelid IN (SELECT oid FROM named)
   OR %(indexes)s::text[] = '{}' AND (%(tables)s::text[] = '{}' OR EXISTS (
      SELECT FROM unnest(%(tables)s::text[]) AS name WHERE i.indrelid = to_regclass(name) OR i.indrelid IN (
          SELECT relid FROM pg_partition_tree(to_regclass(name)))))
ORDER BY 3, 2
"""
_COUNTERS = ("scans", "read", "fetched", "table_scans", "seq_scans")


class IndexUsage(Counting):
    """Looks whether indexes were used, of tables that are large and busy enough to tell."""

    kind: Literal["index_usage"] = "index_usage"
    """Which kind of check this is."""
    since: Since = "first"
    """From when it counts: ``first`` (the check's first look in this release, or what was recorded before the release
    where there is none yet), ``look`` (its last), ``release`` (what was recorded before the release), or ``reset``
    (when the server began to count; an index made since then is held against what was read before it was there)."""
    indexes: tuple[str, ...] = Field(default=(), examples=[["public.idx_orders_customer"]])
    """The indexes that must be used, as in SQL; by default all that enforce nothing."""
    tables: tuple[str, ...] = Field(default=(), examples=[["public.orders"]])
    """Only the indexes of these tables and their partitions, as in SQL; by default of all of the database."""
    scans: Annotated[int, Field(ge=1)] = 1
    """How often an index must have been used at least."""
    min_rows: Annotated[int, Field(ge=0)] = 10_000
    """How many rows a table must have for its unused index to count; on a smaller one it is rightly not used."""
    min_reads: Annotated[int, Field(ge=1)] = 100
    """How often the table must have been read, by whatever way, for its unused index to count."""

    def count(self, session: Session) -> Counts:
        """Return how often each index and its table were read."""
        rows = session.query(_INDEXES, {"indexes": list(self.indexes), "tables": list(self.tables)})
        gone = [f"{name} is not an index" for name in not_of(session, self.indexes, "iI")]
        gone += [f"{name} is not a table" for name in not_of(session, self.tables, "rmp")]
        values = {row["key"]: {name: row[name] for name in _COUNTERS} for row in rows}
        return Counts(values, (rows, gone))

    def judge(self, session: Session, now: Counts, window: Window | str) -> Reading:  # noqa: ARG002 - the base's
        """Return the indexes that were not used; where no table is large and busy enough it is unknown."""
        rows, gone = now.rows
        readings = [failed(words) for words in gone]
        if isinstance(window, str):
            return all_of([*readings, without_window("which indexes were used", window)])
        deltas = {row["key"]: _delta(window, row["key"]) for row in rows}
        if any(value < 0 for delta in deltas.values() for value in delta.values()):
            return all_of(
                [*readings, unknown(f"an index was read less than {window.since}: the statistics were reset")]
            )
        judged = [row for row in rows if row["named"] or not row["enforces"]]
        found = [
            self._judge(
                row, deltas[row["key"]], window.told, is_new=bool(window.before) and row["key"] not in window.before
            )
            for row in judged
        ]
        readings += [one for one in found if one.outcome is not Outcome.UNKNOWN or self.indexes]
        quiet = sum(one.outcome is Outcome.UNKNOWN for one in found)
        if not readings:
            seen = f"{quiet} unused indexes are of tables too small or too little read {window.told} to tell"
            readings = [unknown(seen if quiet else "there is no index that could go unused")]
        elif all(one.outcome is Outcome.PASSED for one in readings):
            seen = f"{len(readings)} indexes were used {window.told}"
            readings = [passed(f"{seen}; of {quiet} more it cannot be told" if quiet else seen)]
        shown = sorted(judged, key=lambda row: int(row["bytes"]), reverse=True)[:_KEPT]
        detail = {row["name"]: {**deltas[row["key"]], "rows": row["rows"], "bytes": row["bytes"]} for row in shown}
        return all_of(readings, detail={"indexes": detail})

    def _judge(self, row: Row, delta: dict[str, int], told: str, *, is_new: bool) -> Reading:
        name, scans, reads = row["name"], delta["scans"], delta["table_scans"]
        if scans >= self.scans:
            return passed(f"{name} was used {scans} times {told}", value=scans, unit="scans", limit=self.scans)
        if is_new:
            return unknown(f"{name} was made {told}, and not used {self.scans} times yet")
        seen = f"{name} was used {scans} times ≥ {self.scans} {told}, while {row['table']} was read {reads} times"
        if row["rows"] < self.min_rows or reads < self.min_reads:
            few = f"{row['rows']} rows" if row["rows"] < self.min_rows else "too few reads"
            return unknown(f"{seen}: {few} to tell")
        return failed(seen, value=scans, unit="scans", limit=self.scans)


def _delta(window: Window, key: str) -> dict[str, int]:
    before: Any = window.before.get(key, {})
    return {name: (value or 0) - (before.get(name) or 0) for name, value in window.now[key].items()}
