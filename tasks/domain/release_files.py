"""Files of a release that a release file names: paths and patterns that cannot lead out of its directory."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Annotated

from pydantic import AfterValidator

from tasks.domain.errors import Refused
from tasks.domain.ports import Host


def _inside(path: str) -> str:
    pure = PurePosixPath(path)
    if not path or pure.is_absolute() or ".." in pure.parts or "**" in path:
        raise ValueError(f"{path!r} is not a path within the release, such as migrations/*.sql")
    return path


RelativePath = Annotated[str, AfterValidator(_inside)]
"""A path or a pattern (``*``, ``?``, ``[…]`` within one name) relative to a release's directory."""


def matching(host: Host, directory: Path, pattern: str) -> list[str]:
    """Return the paths in ``directory`` that a pattern names, ``9_b`` before ``10_a``; raises `Refused` if none."""
    found = [PurePosixPath()]
    for part in PurePosixPath(pattern).parts:
        found = [parent / name for parent in found for name in _names(host, directory / parent, part)]
    if not found:
        raise Refused("no such file", where=pattern, expected=f"a file in {directory}")
    return sorted(map(str, found), key=_by_number)


def _names(host: Host, directory: Path, part: str) -> Sequence[str]:
    if not re.search(r"[*?\[]", part):
        return [part] if host.exists(directory / part) else []
    return [name for name in host.list(directory) if fnmatchcase(name, part) and not name.startswith(".")]


def _by_number(name: str) -> list[tuple[int, str]]:
    return [(int(digits or -1), text) for digits, text in re.findall(r"([0-9]+)|([^0-9]+)", name)]
