"""A schema as pg_dump words it: without the secrets that may stand in it, and compared with another one."""

from __future__ import annotations

import re
from difflib import unified_diff

# A user mapping and a subscription hold passwords in their literals.
_SECRETIVE = re.compile(r"^(?:CREATE|ALTER) (?:USER MAPPING|SUBSCRIPTION|SERVER)\b.*?;$", re.MULTILINE | re.DOTALL)
_LITERAL = re.compile(r"'(?:[^']|'')*'")
MOST_KEPT = 4_000_000
"""More characters of a schema than this are not kept."""
MOST_LINES = 60
# Of no table, and not to be had a second time: a slot, a password.
_ELSEWHERE = re.compile(r"^CREATE (?:USER MAPPING|SUBSCRIPTION)\b.*?;$", re.MULTILINE | re.DOTALL)
_NAMED_NOT_NULL = re.compile(r"(?<=\s)CONSTRAINT (?:\w+|\"(?:[^\"]|\"\")+\") NOT NULL\b")
_OBJECT = re.compile(r"([+-])-- Name: (.+?); Type: (.+?); Schema: .*")
"""What pg_dump writes ahead of each object."""
_MOST_TOLD = 12
NAMES_NOT_NULL = 180000
"""The server version from which NOT NULL is a constraint with a name, which stays when the column is renamed."""


def fit_to_keep(schema: str) -> str | None:
    """Return the schema as it may be put on record, its secrets hidden; None if it is too long."""
    if len(schema) > MOST_KEPT:
        return None
    return _SECRETIVE.sub(lambda found: _LITERAL.sub("'•••'", found[0]), schema)


def apart(schema: str) -> tuple[str, list[str]]:
    """Return a schema without the statements that lead to other servers, and those."""
    return _ELSEWHERE.sub("", schema), _ELSEWHERE.findall(schema)


def without_names_of_not_null(schema: str) -> str:
    """Return a schema as an older server has it, to which NOT NULL is no constraint with a name."""
    return _NAMED_NOT_NULL.sub("NOT NULL", schema)


def difference(before: str | None, now: str | None, names: tuple[str, str] = ("rehearsed", "production")) -> str:
    """Return what a schema has now that it had not before (``+``) and the other way round (``-``), as a diff."""
    if before is None or now is None:
        return "it is too long to be shown; compare pg_dump --schema-only of both"
    lines = list(unified_diff(before.splitlines(), now.splitlines(), *names, n=2, lineterm=""))
    if not lines:
        return "they differ only in what must not be shown, such as a password of a user mapping"
    more = [f"… and {len(lines) - MOST_LINES} more lines"] if len(lines) > MOST_LINES else []
    return "\n".join([*lines[:MOST_LINES], *more])


def changed_lines(before: str, now: str) -> frozenset[str]:
    """Return the lines that a schema has now and had not before, and the other way round, each with its sign."""
    return frozenset(line for line in _changed(before, now) if line[1:].strip("- "))


def changes_told(before: str, now: str) -> str:
    """Return in a few lines what a schema has now (``+``) and had before (``-``): objects by name, else its lines."""
    changed = _changed(before, now)
    objects = [f"{found[1]} {found[3].lower()} {found[2]}" for line in changed if (found := _OBJECT.fullmatch(line))]
    told = objects or [line for line in changed if line[1:].strip("- ")]
    more = [f"… and {len(told) - _MOST_TOLD} more"] if len(told) > _MOST_TOLD else []
    return "\n".join([*told[:_MOST_TOLD], *more])


def _changed(before: str, now: str) -> list[str]:
    lines = list(unified_diff(before.splitlines(), now.splitlines(), n=0, lineterm=""))[2:]
    return [line for line in lines if not line.startswith("@@")]
