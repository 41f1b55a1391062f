"""What golive's documents show in blocks and between their lines, for the tests that read them or do as they say."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
SHELL = {"sh", "console", "bash"}
"""The languages of blocks that hold commands; those in ``sh`` of the tutorial are run as one script."""
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"`(golive [^`]+)`")


@dataclass(frozen=True)
class Block:
    """A fenced block with its language and the line at which it begins."""

    language: str
    text: str
    line: int

    def commands(self) -> list[str]:
        """Return its lines as a shell reads them: those that go on in one, without comments and empty ones."""
        joined = re.sub(r"\\\n\s*", "", self.text)
        found = (" ".join(re.sub(r"(^|\s)#.*", "", line).split()) for line in joined.splitlines())
        return [line for line in found if line]


def blocks_of(document: Path) -> list[Block]:
    """Return the blocks of a document that say in which language they are."""
    text = document.read_text(encoding="utf-8")
    return [Block(match[1], match[2], text.count("\n", 0, match.start()) + 2) for match in _BLOCK.finditer(text)]


def inline_commands(document: Path) -> Iterator[tuple[str, str]]:
    """Yield each command of golive that stands in a sentence, after the row of a table or the heading above it."""
    text = document.read_text(encoding="utf-8")
    for match in _INLINE.finditer(text):
        line = text[text.rfind("\n", 0, match.start()) + 1 :].partition("\n")[0]
        headings = re.findall(r"^#+ (\w.+)$", text[: match.start()], re.MULTILINE)
        row = re.match(r"\| (.*?) \|", line)
        yield row[1] if row else headings[-1], " ".join(match[1].split())


def golive_commands(document: Path, *, between_lines: bool = True) -> Iterator[tuple[str, list[str]]]:
    """Yield each command of golive in a document's blocks, and ``between_lines``, with where it stands."""
    for block in blocks_of(document):
        if block.language not in SHELL:
            continue
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
