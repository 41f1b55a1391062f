"""An extension of the database."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field

from tasks.checks import Check
from tasks.domain.condition import all_of, held
from tasks.domain.outcome import Reading, failed, unknown
from tasks.domain.target import Target

_EXTENSION = """
SELECT a.installed_version AS installed, a.default_version AS available FROM pg_available_extensions a
WHERE a.name = %(name)s
UNION ALL
SELECT e.extversion, NULL FROM pg_extension e
WHERE e.extname = %(name)s AND NOT EXISTS (SELECT FROM pg_available_extensions a WHERE a.name = e.extname)
"""


class Extension(Check):
    """Looks whether an extension is installed in the database, in a version that suffices."""

    kind: Literal["extension"] = "extension"
    """Which kind of check this is."""
    extension: Annotated[str, Field(min_length=1, examples=["vector"])]
    """The extension's name."""
    at_least: Annotated[str | None, Field(pattern=r"^\d+(\.\d+)*$", examples=["0.8"])] = None
    """The lowest version that will do, in quotes so that it is not read as a number."""
    dsn: str = "{dsn}"
    """The database; by default that of the system."""

    def look(self, target: Target) -> Reading:
        """Return the version that is installed; one that is not a number cannot be compared and is unknown."""
        with target.world.databases.session(
            target.fill(self.dsn), read_only=True, statement_timeout=self.timeout
        ) as session:
            rows = session.query(_EXTENSION, {"name": self.extension})
        if not rows:
            return failed(f"extension {self.extension} is neither installed nor available on this server")
        installed, available = rows[0]["installed"], rows[0]["available"]
        detail = {"installed": installed, "available": available}
        if installed is None:
            return failed(f"extension {self.extension} is not installed; {available} is available", detail=detail)
        readings = [held(f"extension {self.extension} {installed} is installed", holds=True)]
        if self.at_least is not None:
            if not re.match(r"\d+(\.\d+)*", installed):
                return unknown(f"version {installed} of {self.extension} cannot be compared", detail=detail)
            words = f"version {installed} of {self.extension} ≥ {self.at_least}"
            readings = [held(words, _numbers(installed) >= _numbers(self.at_least))]
        return all_of(readings, detail=detail)


def _numbers(version: str) -> tuple[int, ...]:
    leading = re.match(r"[\d.]+", version)
    numbers = [int(part) for part in (leading[0] if leading else "").split(".") if part]
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)
