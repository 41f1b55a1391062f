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


def fit_to_keep(schema: str) -> str | None:
    """Return the schema as it may be put on record, its secrets hidden; None if it is too long."""
    if len(schema) > MOST_KEPT:
        return None
    return _SECRETIVE.sub(lambda found: _LITERAL.sub("'•••'", found[0]), schema)


def difference(rehearsed: str | None, now: str) -> str:
    """Return what a schema has that the rehearsed one has not (``+``) and the other way round (``-``), as a diff."""
    kept = fit_to_keep(now)
    if rehearsed is None or kept is None:
        return "it is too long to be shown; compare pg_dump --schema-only of both"
    lines = list(unified_diff(rehearsed.splitlines(), kept.splitlines(), "rehearsed", "production", n=2, lineterm=""))
    if not lines:
        return "they differ only in what must not be shown, such as a password of a user mapping"
    more = [f"… and {len(lines) - MOST_LINES} more lines"] if len(lines) > MOST_LINES else []
    return "\n".join([*lines[:MOST_LINES], *more])
