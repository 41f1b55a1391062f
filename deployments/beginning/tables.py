"""What a database holds, as far as a release file may name it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tasks.domain.ports import World
from tasks.domain.relation import quoted

_LARGEST_FIRST = """
SELECT n.nspname AS schema, c.relname AS name, pg_total_relation_size(c.oid) AS bytes
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p') AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^pg_toast'
ORDER BY 3 DESC, 1, 2
"""


@dataclass(frozen=True)
class TableSeen:
    """A table of the database."""

    schema: str
    name: str
    bytes: int

    @property
    def quoted(self) -> str:
        """Its name as SQL takes it."""
        return quoted(self.schema, self.name)


def tables_of(world: World, dsn: str) -> Sequence[TableSeen]:
    """Return the tables of a database, the largest first; it is only read. Raises `Unreachable`, `AccessDenied`."""
    with world.databases.session(dsn, read_only=True, statement_timeout=10) as session:
        return [TableSeen(row["schema"], row["name"], row["bytes"]) for row in session.query(_LARGEST_FIRST)]
