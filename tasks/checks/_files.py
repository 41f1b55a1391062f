"""Files of a target's host, found by patterns and read in pieces, as checks need them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated

from pydantic import Field

from tasks.domain.errors import AccessDenied, Inconclusive
from tasks.domain.ports import Command
from tasks.domain.target import Target

Pattern = Annotated[str, Field(min_length=1, pattern=r"^[^\x00]+$")]
Patterns = Annotated[tuple[Pattern, ...], Field(min_length=1)]

PIECE = 4 << 20
"""Bytes of a file that are read at a time."""
LARGEST_TEXT = 8 << 20
"""Bytes up to which a file is read as a whole."""

_MAGIC = re.compile(r"[*?\[]")
_FORMAT = r"%y\0%m\0%u\0%g\0%s\0%T@\0%i\0%p\0"
_NOT_THERE = ("No such file or directory", "Not a directory")


@dataclass(frozen=True)
class Entry:
    """What lies at a path: ``type`` is ``f``, ``d``, or another letter of find(1); ``modified`` in seconds of Unix."""

    path: str
    type: str
    mode: int
    owner: str
    group: str
    size: int
    modified: float
    inode: int = 0


def place_of(target: Target, pattern: str) -> str:
    """Return a path of the release file, its placeholders filled, below the version's code unless it is absolute."""
    return str(target.release_dir / target.fill(pattern))


def find(target: Target, pattern: str, *, timeout: float) -> list[Entry]:
    """Return what matches a path, in whose parts ``*``, ``?`` and ``[…]`` stand for signs and ``**`` for directories.

    Links are followed, except below ``**``. Raises `AccessDenied` if a part of it could not be looked into.
    """
    parts = Path(place_of(target, pattern)).parts
    fixed = next((n for n, part in enumerate(parts) if _MAGIC.search(part)), len(parts))
    base, rest = str(Path(*parts[:fixed])), parts[fixed:]
    tests = [] if "**" in rest else ["-maxdepth", str(len(rest)), "-mindepth", str(len(rest))]
    if rest and rest[-1] != "**":
        tests += ["-name", rest[-1]]
    entries = find_below(target, [base], tests, follow="**" not in rest, timeout=timeout)
    found = [entry for entry in entries if matches(Path(entry.path).parts[fixed:], rest)]
    return sorted(found, key=lambda entry: entry.path)


def find_below(
    target: Target, places: Sequence[str], tests: Sequence[str], *, follow: bool, timeout: float
) -> list[Entry]:
    """Return what find(1) finds below places of the host; a place that is not there holds nothing.

    Raises `AccessDenied` if it could not look everywhere.
    """
    argv = ("find", "-L" if follow else "-H", *places, *tests, "-printf", _FORMAT)
    ended = target.world.host.run(Command(argv, env={"LC_ALL": "C"}, timeout=timeout, ok_exit=(0, 1)))
    trouble = [line for line in ended.stderr.splitlines() if not line.endswith(_NOT_THERE)]
    if trouble:
        raise AccessDenied(trouble[0].removeprefix("find: "), do="give golive's user the right to look there")
    fields = ended.stdout.split("\0")[:-1]
    try:
        rows = zip(*[iter(fields)] * 8, strict=True)
        return [Entry(p, y, int(m, 8), u, g, int(s), float(t), int(i)) for y, m, u, g, s, t, i, p in rows]
    except ValueError as error:
        raise Inconclusive("more files than can be listed", where=" ".join(places)) from error


def matches(parts: Sequence[str], pattern: Sequence[str]) -> bool:
    """Tell whether the parts of a path match those of a pattern."""
    if not pattern:
        return not parts
    if pattern[0] == "**":
        return any(matches(parts[n:], pattern[1:]) for n in range(len(parts) + 1))
    return bool(parts) and fnmatchcase(parts[0], pattern[0]) and matches(parts[1:], pattern[1:])


def pieces(target: Target, path: str, start: int, end: int, *, timeout: float) -> Iterator[str]:
    """Read a file from one byte to another in pieces that end with a line; a line longer than a piece is cut."""
    rest = ""
    for place in range(start, end, PIECE):
        count = min(PIECE, end - place)
        argv = ("dd", f"if={path}", "bs=1M", f"skip={place}", f"count={count}", "status=none")
        flags = ("iflag=skip_bytes,count_bytes,fullblock",)
        text = rest + target.world.host.run(Command((*argv, *flags), timeout=timeout)).stdout
        cut = text.rfind("\n") + 1 or len(text)
        rest = text[cut:]
        yield text[:cut]
    if rest:
        yield rest


def read_text(target: Target, path: str) -> str | None:
    """Return the text of a file that is not large, or None if it is not there."""
    found = find_below(target, [path], ["-maxdepth", "0"], follow=True, timeout=30.0)
    if not found:
        return None
    if found[0].size > LARGEST_TEXT:
        raise Inconclusive(f"{found[0].size} bytes are too many to be read", where=path)
    return target.world.host.read(Path(path))
