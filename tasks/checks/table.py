"""A table and its columns."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field

from tasks.checks import Check
from tasks.domain.condition import all_of, held
from tasks.domain.kind import Strict
from tasks.domain.outcome import Reading, failed, passed
from tasks.domain.ports import Row
from tasks.domain.target import Target

_COLUMNS = """
SELECT a.attname AS name, format_type(a.atttypid, a.atttypmod) AS type, a.atttypid::bigint AS oid,
       NOT a.attnotnull AS nullable,
       CASE WHEN a.attidentity <> '' THEN 'identity' ELSE pg_get_expr(d.adbin, d.adrelid) END AS "default"
FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE a.attrelid = to_regclass(%s) AND a.attnum > 0 AND NOT a.attisdropped
"""
_CAST = re.compile(r"""::[\w ."]+(\([\d,]+\))?[\w ]*(\[\])*$""")


class _Column(Strict):
    """What a column must be."""

    type: str | None = None
    """Its type in any of PostgreSQL's names for it: ``timestamptz`` or ``timestamp with time zone``."""
    nullable: bool | None = None
    """Whether it may be null."""
    default: str | int | float | bool | None = Field(default=None, examples=["now()", "'new'", "identity"])
    """Its default as PostgreSQL writes it, with or without the cast at its end; ``null`` means that it has none."""


class Table(Check):
    """Looks whether a table is there, with the columns that it must have."""

    kind: Literal["table"] = "table"
    """Which kind of check this is."""
    table: Annotated[str, Field(min_length=1, examples=["public.task_status_history"])]
    """The table or view, as in SQL: with its schema unless that is in the search path, quoted if it has capitals."""
    columns: dict[str, _Column | str | None] = Field(
        default_factory=dict, examples=[{"metadata": "jsonb", "task_id": {"type": "uuid", "nullable": False}}]
    )
    """The columns that must be there, each with its type, or with ``type``, ``nullable`` and ``default``."""
    exists: bool = True
    """Whether it must be there; ``false`` means that it must be gone."""
    dsn: str = "{dsn}"
    """The database; by default that of the system."""

    def look(self, target: Target) -> Reading:
        """Return which columns are missing or differ."""
        with target.world.databases.session(
            target.fill(self.dsn), read_only=True, statement_timeout=self.timeout
        ) as session:
            there = session.value("SELECT to_regclass(%s) IS NOT NULL", (self.table,))
            if not there or not self.exists:
                return held(f"{self.table} is {'there' if there else 'not there'}", there == self.exists)
            present = {row["name"]: row for row in session.query(_COLUMNS, (self.table,))}
            wanted = {
                name: column if isinstance(column, _Column) else _Column(type=column)
                for name, column in self.columns.items()
            }
            types = {column.type for column in wanted.values() if column.type}
            oids = {name: session.value("SELECT to_regtype(%s)::oid::bigint", (name,)) for name in types}
        readings = [_judge(name, column, present.get(name), oids) for name, column in wanted.items()]
        detail = {name: row["type"] + (" null" if row["nullable"] else " not null") for name, row in present.items()}
        return all_of(readings or [passed(f"{self.table} is there")], detail={"columns": detail})


def _judge(name: str, wanted: _Column, row: Row | None, oids: dict[str, int | None]) -> Reading:
    if row is None:
        return failed(f"column {name} is not there")
    readings = []
    if wanted.type:
        modifier = re.search(r"\(.*?\)", wanted.type)
        fits = row["oid"] == oids[wanted.type] and (not modifier or modifier[0].replace(" ", "") in row["type"])
        readings.append(held(f"column {name} {row['type']} = {wanted.type}", fits))
    if wanted.nullable is not None:
        words = "nullable" if row["nullable"] else "not null"
        readings.append(held(f"column {name} is {words}", row["nullable"] == wanted.nullable))
    if "default" in wanted.model_fields_set:
        shown = f"column {name} default {row['default'] or 'none'} = {_written(wanted.default) or 'none'}"
        readings.append(held(shown, _is_default(row["default"], wanted.default)))
    return all_of(readings or [passed(f"column {name} is there")])


def _written(default: str | float | None) -> str | None:
    return str(default).lower() if isinstance(default, bool) else None if default is None else str(default)


def _is_default(seen: str | None, wanted: str | float | None) -> bool:
    text = _written(wanted)
    if seen is None or text is None:
        return seen == text
    bare = _CAST.sub("", seen)
    # PostgreSQL writes a negative number as a text that is cast.
    return text in {seen, bare} or (not isinstance(wanted, str) and bare == f"'{text}'")
