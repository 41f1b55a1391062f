"""The SQL expression that makes one number of a whole row, the same on every server that holds the same row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

WIDEST = 200
"""Columns beyond which the calls would be nested too deep; a wider row is hashed by its text."""


@dataclass(frozen=True)
class Column:
    """A column of a table ``t``: its quoted name, and the name of its type in pg_catalog.

    A type of another schema has no name here: its values are hashed by their text.
    """

    name: str
    type: str


# For each type whose equal values are equal byte for byte, and whose hash depends on nothing but the value: how a value
# is hashed with a seed, and what stands for NULL. Not so are numeric (1.0 equals 1.00), float (0 equals -0), jsonb,
# interval and arrays; an enum's hash is that of its OID. Those are hashed by their text.
_TEXT = ('hashtextextended({} COLLATE "C", {})', "''")
_ALONE = "hash_record_extended(ROW({}), {})"
_PLAIN = {
    "bool": ("hashint4extended({}::int4, {})", "false"),
    "char": ("hashcharextended({}, {})", "''"),
    "name": ("hashnameextended({}, {})", "''"),
    "int2": ("hashint2extended({}, {})", "0::int2"),
    "int4": ("hashint4extended({}, {})", "0"),
    # Its two halves are folded into one before they are hashed, so the value itself is mixed in once more.
    "int8": ("hashint8extended({0}, {1}) # {0}", "0::int8"),
    "oid": ("hashoidextended({}, {})", "0::oid"),
    "text": _TEXT,
    "varchar": _TEXT,
    "bpchar": ('hashbpcharextended({} COLLATE "C", {})', "''"),
    "bytea": (_ALONE, "''"),
    "uuid": ("uuid_hash_extended({}, {})", "'00000000-0000-0000-0000-000000000000'"),
    "date": (_ALONE, "'epoch'"),
    "time": ("time_hash_extended({}, {})", "'00:00'"),
    "timestamp": ("timestamp_hash_extended({}, {})", "'epoch'"),
    "timestamptz": ("timestamp_hash_extended({} AT TIME ZONE 'UTC', {})", "'epoch'"),
}


def row_hash(columns: Sequence[Column]) -> str:
    """Return the expression for rows of a table ``t`` with these columns: each one's hash is the seed of the next.

    So the number depends on which values stand beside which. Which columns are NULL is the first seed. Without columns,
    or with more than `WIDEST`, it is the hash of the row's text.
    """
    if not 0 < len(columns) <= WIDEST:
        # With the star: a plain t would be a column of that name, if the table has one.
        return "hashtextextended((t.*)::text, 0)"
    # Each may be NULL, whatever the catalog says: a constraint may not be valid yet, and a damaged row knows of none.
    tests = [f"t.{one.name} IS NULL" for one in columns]
    which = f"hashtextextended(ARRAY[{', '.join(tests)}]::text, 0)"
    found = f"CASE WHEN {' OR '.join(tests)} THEN {which} ELSE 0 END"
    for one in columns:
        value = f"t.{one.name}" if one.type in _PLAIN else f"t.{one.name}::text"
        by, instead = _PLAIN.get(one.type, _TEXT)
        found = by.format(f"coalesce({value}, {instead})", found)
    return found
