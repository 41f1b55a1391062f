"""A release file as it is being written."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field

FILL_IN = "FILL IN"
"""How a line begins that says what a person must add or correct."""
_WRAP = 118


@dataclass
class Draft:
    """A release file as it is being written."""

    name: str
    lines: list[str] = field(default_factory=list)

    def add(self, *lines: str) -> None:
        """Add lines as they are."""
        self.lines += lines

    def note(self, words: str, depth: int = 0) -> None:
        """Add a comment, broken into lines."""
        line = f"{' ' * depth}#"
        for word in words.split():
            if len(line) + 1 + len(word) > _WRAP:
                self.lines.append(line)
                line = f"{' ' * depth}#"
            line += f" {word}"
        self.lines.append(line)

    def fill(self, words: str, depth: int = 0) -> None:
        """Add a comment about what a person must add or correct."""
        self.note(f"{FILL_IN}: {words}", depth)

    @property
    def prefix(self) -> str:
        """What the system's own variables begin with."""
        return self.name.upper().replace("-", "_")

    def reference(self, variable: str) -> str:
        """Return the reference to the variable of golive's own environment that holds one of the service's."""
        return f"${{env:{variable if variable.startswith(f'{self.prefix}_') else f'{self.prefix}_{variable}'}}}"


def quoted_text(value: str) -> str:
    """Return a text as YAML takes it, whatever is in it."""
    return json.dumps(value, ensure_ascii=False)


def flow_list(words: Sequence[str]) -> str:
    """Return texts as a list on one line of YAML."""
    return f"[{', '.join(map(quoted_text, words))}]"
