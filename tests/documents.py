"""The commands that golive's documents show.

A block fenced as ``sh`` is run by a test, in the order of its document; one fenced as ``console`` is only read: each
command of golive in it must exist, with its options.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

DOCS = Path(__file__).parents[1] / "docs"
_BLOCK = re.compile(r"^```(sh|console|bash)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"`(golive [^`]+)`")


@dataclass(frozen=True)
class Block:
    """A fenced block with its language and the line at which it begins."""

    language: str
    text: str
    line: int


def blocks_of(document: Path) -> list[Block]:
    """Return the blocks of a document that hold commands."""
    text = document.read_text(encoding="utf-8")
    return [Block(match[1], match[2], text.count("\n", 0, match.start()) + 2) for match in _BLOCK.finditer(text)]


def golive_commands(document: Path, *, between_lines: bool = True) -> Iterator[tuple[str, list[str]]]:
    """Yield each command of golive in a document's blocks, and ``between_lines``, with where it stands."""
    for block in blocks_of(document):
        joined = block.text.replace("\\\n", " ")
        for number, text in enumerate(joined.splitlines(), block.line):
            found = re.match(r"\s*(?:\$ )?(golive\s[^#|&;]*)", text)
            if found:
                yield f"{document.name}:{number}", _words(found[1])
    whole = document.read_text(encoding="utf-8") if between_lines else ""
    for match in _INLINE.finditer(whole):
        line = whole.count("\n", 0, match.start()) + 1
        yield f"{document.name}:{line}", _words(" ".join(match[1].split()))


def _words(line: str) -> list[str]:
    line = line.partition(" > ")[0]
    try:
        return shlex.split(line)
    except ValueError:
        return line.split()
