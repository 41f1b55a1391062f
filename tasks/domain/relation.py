"""Tables and columns as the server names them, so that no name of a release file gets into SQL unquoted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tasks.domain.errors import SqlFailed
from tasks.domain.outcome import Reading, judge_limit, unknown
from tasks.domain.ports import Session

_RELATION = """
SELECT c.oid::bigint AS oid, n.nspname AS schema, c.relname AS name,
       (SELECT json_object_agg(a.attname, format_type(a.atttypid, NULL)) FROM pg_attribute a
        WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped) AS columns
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = to_regclass(%s)
"""


def quoted(*names: str) -> str:
    """Return a name, or the parts of a qualified one, as SQL takes it whatever it holds."""
    return ".".join('"' + name.replace('"', '""') + '"' for name in names)


def literal(text: str) -> str:
    """Return a text as a literal of SQL, whatever it holds."""
    # With E'' a backslash means the same whatever standard_conforming_strings says.
    return "E'" + text.replace("\\", "\\\\").replace("'", "''") + "'"


@dataclass(frozen=True)
class Relation:
    """A table or view that exists; ``columns`` maps each column's name to its type."""

    oid: int
    schema: str
    name: str
    columns: Mapping[str, str]

    @property
    def sql(self) -> str:
        """Its name, quoted and with its schema."""
        return quoted(self.schema, self.name)

    def column(self, name: str) -> str:
        """Return a column's name, quoted; raises `SqlFailed` if there is no such column."""
        if name not in self.columns:
            raise SqlFailed(f"there is no column {name}", sqlstate="42703", where=self.sql)
        return quoted(name)


def relation(session: Session, name: str) -> Relation:
    """Return the table or view that a name means in SQL; raises `SqlFailed` if there is none."""
    rows = session.query(_RELATION, (name,))
    if not rows:
        raise SqlFailed(f"{name} is not there", sqlstate="42P01")
    row = rows[0]
    return Relation(row["oid"], row["schema"], row["name"], row["columns"] or {})


def relation_and_column(session: Session, name: str) -> tuple[Relation, str]:
    """Return what ``table.column`` means in SQL, the column by its bare name; raises `SqlFailed` if nothing."""
    *table, column = session.value("SELECT parse_ident(%s)", (name,))
    if not table:
        raise SqlFailed(f"{name} names no table", sqlstate="42602", do="write table.column or schema.table.column")
    found = relation(session, quoted(*table))
    found.column(column)
    return found, column


def not_of(session: Session, names: Iterable[str], relkinds: str) -> list[str]:
    """Return those of the names, as in SQL, that mean nothing of these kinds (of ``pg_class.relkind``)."""
    found = "SELECT count(*) FROM pg_class WHERE oid = to_regclass(%s) AND relkind = ANY (%s)"
    return [name for name in names if not session.value(found, (name, list(relkinds)))]


def refuse_hidden_rows(session: Session) -> None:
    """Let queries raise `AccessDenied` where row-level security would silently leave out rows."""
    session.execute("SET row_security = off")


def rows_up_to(session: Session, table: Relation, most: int) -> int:
    """Return how many rows a table has, counted no further than ``most``."""
    return int(session.value(f"SELECT count(*) FROM (SELECT FROM {table.sql} LIMIT {most:d}) counted"))  # noqa: S608 - quoted


def judge_offenders(offenders: int, at_most: int, what: str, *, rows: int, min_rows: int) -> Reading:
    """Hold a number of offending rows against its limit; too few ``rows`` to look at leave it unknown."""
    if offenders <= at_most and rows < min_rows:
        return unknown(f"{what}: {rows} rows to look at, {min_rows} are needed", unit="rows", limit=at_most)
    return judge_limit(offenders, at_most, "rows", what)
