"""Indexes that do no good: invalid ones, and those that another one makes needless."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tasks.checks import Check
from tasks.domain.condition import all_of
from tasks.domain.outcome import Reading, failed, passed, unknown
from tasks.domain.relation import not_of
from tasks.domain.target import Target
from tasks.domain.units import show_bytes

_SCOPE = """
n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' AND (%(tables)s::text[] = '{}' OR EXISTS (
    SELECT FROM unnest(%(tables)s::text[]) AS name WHERE c.oid = to_regclass(name)
    OR c.oid IN (SELECT relid FROM pg_partition_tree(to_regclass(name)))))
"""
_COUNT = f"""
SELECT count(*) FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE {_SCOPE}
"""  # noqa: S608 - golive's own words
# One that is being built concurrently is invalid until it is done; its builder locks the table all the while, as
# vacuum does too.
_INVALID = f"""
SELECT i.indexrelid::regclass::text AS name, c.oid::regclass::text AS "table", i.indisready AS ready
FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE NOT (i.indisvalid AND i.indisready) AND {_SCOPE} AND NOT EXISTS (
    SELECT FROM pg_locks l WHERE l.locktype = 'relation' AND l.granted AND l.relation = c.oid
    AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND l.mode = 'ShareUpdateExclusiveLock' AND l.pid IN (SELECT pid FROM pg_stat_progress_create_index))
ORDER BY 1
"""  # noqa: S608 - golive's own words
# A unique index does all that a plain one on the same columns does. What belongs to a constraint cannot just be
# dropped.
_NEEDLESS = f"""
SELECT a.indexrelid::regclass::text AS name, b.indexrelid::regclass::text AS other, c.oid::regclass::text AS "table",
       pg_relation_size(a.indexrelid) AS bytes
FROM pg_index a JOIN pg_class x ON x.oid = a.indexrelid JOIN pg_index b ON b.indrelid = a.indrelid
JOIN pg_class y ON y.oid = b.indexrelid AND y.relam = x.relam
JOIN pg_class c ON c.oid = a.indrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE a.indexrelid <> b.indexrelid AND a.indisvalid AND b.indisvalid AND {_SCOPE}
  AND a.indkey::text = b.indkey::text AND a.indclass::text = b.indclass::text AND a.indoption::text = b.indoption::text
  AND a.indcollation::text = b.indcollation::text
  AND pg_get_expr(a.indexprs, a.indrelid) IS NOT DISTINCT FROM pg_get_expr(b.indexprs, b.indrelid)
  AND pg_get_expr(a.indpred, a.indrelid) IS NOT DISTINCT FROM pg_get_expr(b.indpred, b.indrelid)
  AND a.indnkeyatts = b.indnkeyatts AND NOT a.indisreplident
  AND NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conindid = a.indexrelid)
  AND (b.indisunique > a.indisunique OR b.indisunique = a.indisunique AND (
       EXISTS (SELECT FROM pg_constraint k WHERE k.conindid = b.indexrelid) OR b.indexrelid < a.indexrelid))
ORDER BY 4 DESC
"""  # noqa: S608 - golive's own words


class IndexDefects(Check):
    """Looks for indexes that a broken build left invalid, and for those that do only what another one does."""

    kind: Literal["index_defects"] = "index_defects"
    """Which kind of check this is."""
    tables: tuple[str, ...] = Field(default=(), examples=[["public.orders"]])
    """The tables whose indexes are looked at, as in SQL, with their partitions; by default all of the database."""
    invalid: bool = True
    """Whether to look for indexes that are invalid: they cost time at each write, and no query uses them."""
    duplicates: bool = True
    """Whether to look for indexes that have the same columns, order, operators and condition as another one."""
    dsn: str = "{dsn}"
    """The database; by default that of the system."""

    def look(self, target: Target) -> Reading:
        """Return the indexes that should be dropped or built anew; without any index it is unknown."""
        asked = {"tables": list(self.tables)}
        with target.world.databases.session(
            target.fill(self.dsn), read_only=True, statement_timeout=self.timeout
        ) as session:
            gone = not_of(session, self.tables, "rmp")
            count = session.value(_COUNT, asked)
            invalid = session.query(_INVALID, asked) if self.invalid else []
            needless = session.query(_NEEDLESS, asked) if self.duplicates else []
        readings = [unknown(f"{name} is not a table") for name in gone]
        readings += [failed(f"{row['name']} of {row['table']} is invalid") for row in invalid]
        for name in dict.fromkeys(row["name"] for row in needless):
            row = next(row for row in needless if row["name"] == name)
            readings.append(failed(f"{name} ({show_bytes(row['bytes'])}) does only what {row['other']} does"))
        if not count or not (self.invalid or self.duplicates):
            readings.append(unknown("there is no index to look at"))
        return all_of(
            readings or [passed(f"{count} indexes are valid, and none is needless")],
            detail={"indexes": count, "invalid": invalid, "needless": needless},
        )
