"""What a downgrade would drop: columns and tables that exist only since the upgrade, and what stands in them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from tasks.domain.ports import Session
from tasks.domain.turn import FENCE

# By object and column number a column is known again under another name. A generated one holds nothing of its own.
_COLUMNS = f"""
    SELECT c.oid::bigint AS oid, a.attnum AS number, format('%I.%I', n.nspname, c.relname) AS "table",
           quote_ident(a.attname) AS "column", format_type(a.atttypid, a.atttypmod) AS type,
           CASE WHEN c.relispartition THEN i.inhparent::bigint END AS parent,
           pg_get_expr(d.adbin, d.adrelid) AS "default"
    FROM pg_class c
    JOIN pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
    LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
    LEFT JOIN pg_inherits i ON i.inhrelid = c.oid AND c.relispartition
    WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't' AND c.relname <> '{FENCE}'
      AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^pg_(toast|temp)'
      AND NOT EXISTS (
          SELECT FROM pg_depend e WHERE e.classid = 'pg_class'::regclass AND e.objid = c.oid AND e.deptype = 'e'
      )
    ORDER BY 3, 2
"""  # noqa: S608 - golive's own name
_CONSTANT = re.compile(r"(?:NULL|true|false|-?\d+(?:\.\d+)?|'(?:[^']|'')*')(?:::[\w\s\".\[\](),]+)?", re.IGNORECASE)


@dataclass(frozen=True)
class Column:
    """A column as it is in one database at one moment; ``parent`` is the table of which its table is a partition."""

    oid: int
    number: int
    table: str
    column: str
    type: str
    parent: int | None
    default: str | None


@dataclass(frozen=True)
class Drop:
    """A table that a downgrade drops, or with ``column`` one column of it; names are quoted where they must be."""

    table: str
    column: str = ""
    type: str = ""
    default: str | None = None

    @property
    def name(self) -> str:
        """The table or the column, as it is told."""
        return f"column {self.table}.{self.column}" if self.column else f"table {self.table}"

    @property
    def held(self) -> str:
        """SQL that counts the values in the column that no row has by itself; of a table, its rows."""
        if not self.column:
            return "count(*)"
        if self.default is None or not _CONSTANT.fullmatch(self.default):
            return f"count({self.column})"
        same = f"(({self.default})::{self.type})::text"
        return f"count({self.column}) FILTER (WHERE {self.column}::text IS DISTINCT FROM {same})"


def columns(session: Session) -> list[Column]:
    """Return every column that the application's tables have now."""
    return [Column(**row) for row in session.query(_COLUMNS)]


def drops(
    before: Sequence[Column], up: Sequence[Column], down: Sequence[Column], *, books: Iterable[str] = ()
) -> list[Drop]:
    """Return what came with the upgrade and went with the downgrade; what was only renamed is not among it.

    ``books`` are the tables in which the migrator itself keeps what it applied.
    """
    own = {name.replace('"', "") for name in books}
    old_tables, down_tables = {one.oid for one in before}, {one.oid for one in down}
    old, left = {(one.oid, one.number) for one in before}, {(one.oid, one.number) for one in down}
    gone_tables = {one.oid for one in up if one.oid not in old_tables and one.oid not in down_tables}
    found: dict[Drop, None] = {}
    for one in up:
        if one.table.replace('"', "") in own:
            continue
        if one.oid in gone_tables:
            if one.parent not in gone_tables:
                found[Drop(one.table)] = None
        elif one.parent is None and (one.oid, one.number) not in old | left:
            found[Drop(one.table, one.column, one.type, one.default)] = None
    return list(found)


def count(session: Session, what: Sequence[Drop]) -> dict[str, int]:
    """Return how many values stand in each column, or rows in each table; one look at each table."""
    by_table: dict[str, list[Drop]] = {}
    for one in what:
        by_table.setdefault(one.table, []).append(one)
    found: dict[str, int] = {}
    for table, those in by_table.items():
        held = ", ".join(f"{one.held} AS n{number}" for number, one in enumerate(those))
        counted = session.query(f"SELECT {held} FROM {table}")  # noqa: S608 - names as the server quoted them
        found |= {one.name: int(value) for one, value in zip(those, counted[0].values(), strict=True)}
    return found


def told(counts: Mapping[str, int | None]) -> str:
    """Return what a downgrade would drop in words, such as ``column public.item.colour (3 values)``."""
    return ", ".join(f"{name} ({_counted(name, number)})" for name, number in counts.items())


def _counted(name: str, number: int | None) -> str:
    what = "row" if name.startswith("table ") else "value"
    return f"{what}s not counted" if number is None else f"{number} {what}{'' if number == 1 else 's'}"
