"""Sequences that run out, or lag behind the column that they fill."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from tasks.checks import Check
from tasks.domain.condition import all_of
from tasks.domain.kind import Share
from tasks.domain.outcome import Outcome, Reading, failed, passed, unknown
from tasks.domain.ports import Row, Session
from tasks.domain.relation import quoted, refuse_hidden_rows
from tasks.domain.target import Target

# Each sequence with the integer columns that it fills: as an identity or serial, or by a default that names it.
_SEQUENCES = """
SELECT s.seqrelid::regclass::text AS name, s.seqincrement AS increment, s.seqstart AS start, s.seqcycle AS cycles,
       has_sequence_privilege(s.seqrelid, 'USAGE, SELECT') AS readable,
       CASE WHEN has_sequence_privilege(s.seqrelid, 'USAGE, SELECT')
            THEN pg_sequence_last_value(s.seqrelid) END AS last,
       least(s.seqmax, CASE a.atttypid WHEN 'int2'::regtype THEN 32767
                       WHEN 'int4'::regtype THEN 2147483647 END) AS most,
       greatest(s.seqmin, CASE a.atttypid WHEN 'int2'::regtype THEN -32768
                          WHEN 'int4'::regtype THEN -2147483648 END) AS least,
       t.schema, t.name AS "table", a.attname::text AS "column"
FROM pg_sequence s
JOIN pg_class c ON c.oid = s.seqrelid JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN LATERAL (
    SELECT d.refobjid AS relid, d.refobjsubid AS num FROM pg_depend d
    WHERE d.classid = 'pg_class'::regclass AND d.objid = s.seqrelid AND d.refclassid = 'pg_class'::regclass
      AND d.refobjsubid > 0 AND d.deptype IN ('a', 'i')
    UNION
    SELECT f.adrelid, f.adnum FROM pg_depend d JOIN pg_attrdef f ON f.oid = d.objid
    WHERE d.classid = 'pg_attrdef'::regclass AND d.refclassid = 'pg_class'::regclass AND d.refobjid = s.seqrelid
) fills ON NOT (SELECT relispartition FROM pg_class WHERE oid = fills.relid)
LEFT JOIN pg_attribute a ON a.attrelid = fills.relid AND a.attnum = fills.num
                        AND a.atttypid IN ('int2'::regtype, 'int4'::regtype, 'int8'::regtype)
LEFT JOIN LATERAL (SELECT tn.nspname::text AS schema, tc.relname::text AS name FROM pg_class tc
                   JOIN pg_namespace tn ON tn.oid = tc.relnamespace WHERE tc.oid = a.attrelid) t ON true
WHERE (%(names)s::text[] = '{}' AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema')
   OR s.seqrelid = ANY (ARRAY(SELECT to_regclass(name)::oid FROM unnest(%(names)s::text[]) AS name))
ORDER BY 1
"""


class Sequence(Check):
    """Looks how much of their range sequences have used, and whether one lags behind the column that it fills."""

    advice: ClassVar[str] = "change the column, and what refers to it, to bigint before the sequence ends"

    kind: Literal["sequence"] = "sequence"
    """Which kind of check this is."""
    sequences: tuple[str, ...] = Field(default=(), examples=[["public.orders_id_seq"]])
    """The sequences, as in SQL; by default all of the database."""
    used: Share = 0.85
    """The most of its range that one may have used: of its own, or of its column's type where that is smaller."""
    dsn: str = "{dsn}"
    """The database; by default that of the system."""

    def look(self, target: Target) -> Reading:
        """Return the fullest sequence, or those that are too full or behind; none at all is unknown."""
        with target.world.databases.session(
            target.fill(self.dsn), read_only=True, statement_timeout=self.timeout
        ) as session:
            refuse_hidden_rows(session)
            gone = [name for name in self.sequences if session.value("SELECT to_regclass(%s)", (name,)) is None]
            rows = session.query(_SEQUENCES, {"names": list(self.sequences)})
            readings = [failed(f"{name} is not there") for name in gone]
            readings += [self._judge_use(row) for row in rows]
            readings += [_judge_next(session, row) for row in rows if row["column"] and row["readable"]]
        if not readings:
            return unknown("there is no sequence")
        detail = {row["name"]: {"last": row["last"], "most": row["most"]} for row in rows}
        used = [(reading.value or 0.0, reading) for reading in readings if reading.unit == "%"]
        if used and all(reading.outcome is Outcome.PASSED for reading in readings):
            fullest = max(used, key=lambda pair: pair[0])[1]
            count = len({row["name"] for row in rows})
            return passed(
                f"{count} sequences, the fullest: {fullest.seen}",
                value=fullest.value, unit="%", limit=fullest.limit, detail=detail,
            )  # fmt: skip
        return all_of(readings, detail=detail)

    def _judge_use(self, row: Row) -> Reading:
        name, last, most = row["name"], row["last"], row["most"]
        if not row["readable"]:
            return unknown(f"{name} may not be read")
        if row["increment"] < 0:
            most = row["least"]
        share = 0.0 if row["cycles"] or last is None or last * most <= 0 else last / most
        outcome = Outcome.PASSED if share <= self.used else Outcome.FAILED
        seen = f"{name} {share:.1%} of {most} ≤ {self.used:.0%}"
        return Reading(outcome, seen, value=round(share * 100, 2), unit="%", limit=self.used * 100)


def _judge_next(session: Session, row: Row) -> Reading:
    following = row["start"] if row["last"] is None else row["last"] + row["increment"]
    column = quoted(row["column"])
    highest = session.value(f"SELECT max({column}) FROM {quoted(row['schema'], row['table'])}")  # noqa: S608 - quoted
    if row["increment"] < 0 or row["cycles"] or highest is None or following > highest:
        return passed(f"{row['name']} is ahead of its column")
    place = f"{row['table']}.{row['column']}"
    return failed(f"{row['name']} would give {following}, and {place} is already at {highest}: it lags behind")
