"""A reader of golive's documents, who does what a page says, block by block, in its order and as it stands.

What the reader brings along is declared with the `Page`, by what stands in it; each of that must occur there, so that
none of it outlives what it was for.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from tests.documents import ROOT, SHELL, Block, blocks_of
from tests.flows import SmallSystem
from tests.shells import Shell, a_shell
from tests.waiting import end_active

Word = str | Callable[[], object]
"""What stands for a word of a page, or gives that once it is known."""


@dataclass(frozen=True)
class Page:
    """A document below the repository, and what its reader brings along."""

    path: str
    words: Mapping[str, Word] = field(default_factory=dict)
    """What a reader fills in: instead of a word of the page, another one."""
    before: Mapping[str, Callable[[], object]] = field(default_factory=dict)
    """What a reader has done, or has waited for, before such a command."""
    takes: Mapping[str, Callable[[str], object]] = field(default_factory=dict)
    """What is done with the block that has such a line; without that, YAML is taken into the release file."""
    ends: Mapping[str, Collection[int]] = field(default_factory=dict)
    """The exit codes of commands that do not end with 0."""

    @property
    def document(self) -> Path:
        """Where it lies."""
        return ROOT / self.path

    def declared(self) -> set[str]:
        """Return all that must occur in it."""
        return {*self.words, *self.before, *self.takes, *self.ends}


@dataclass
class Reader:
    """Somebody at a shell who looks after a system."""

    shell: Shell
    system: SmallSystem
    said: dict[str, str] = field(default_factory=dict)
    """What each command of the page at hand has printed, by how it stands there."""
    met: set[str] = field(default_factory=set)
    """What was met of what that page declares."""

    def follow(self, page: Page) -> dict[str, str]:
        """Do what a page says, and return what each of its commands has printed, by how it stands there."""
        self.met, self.said = set(), {}
        for block in blocks_of(page.document):
            if block.language in SHELL:
                for line in block.commands():
                    self._meet(page.before, line)
                    self.said[line] = self.types(page, line)
            else:
                self._take(page, block)
        gone = sorted(page.declared() - self.met)
        assert not gone, f"not in {page.path} any more: {gone}"
        return self.said

    def runs(self, text: str) -> str:
        """Run a command that must end well, and return what it prints."""
        code, said = self.shell.run(text)
        assert code == 0, f"{text} ended with {code}:\n{said}"
        return said

    def types(self, page: Page, line: str) -> str:
        """Run a command of a page and return what it prints; it must end as the page has it."""
        filled = self.filled(page, line)
        code, said = self.shell.run(filled)
        expected = page.ends[line] if self._has_met(page.ends, line) else (0,)
        assert code in expected, f"{page.path}: {filled} ended with {code}:\n{said}"
        assert "Traceback" not in said, said
        return said

    def filled(self, page: Page, text: str) -> str:
        """Return a text of a page with the words that its reader has filled in."""
        for word, given in page.words.items():
            pattern = rf"(?<!\w){re.escape(word)}(?!\w)"
            if re.search(pattern, text):
                self.met.add(word)
                value = str(given() if callable(given) else given)
                text = re.sub(pattern, value.replace("\\", r"\\"), text)
        return text

    def take_in(self, text: str) -> None:
        """Take a part of a release file into the system's own, as far as it says something, and validate that."""
        part = YAML(typ="safe").load(text)
        file = self.system.file
        for section in ("checks", "watch"):
            if section in part:
                file[section] = {**file.get(section, {}), **part.pop(section)}
        file.update(part)
        self.system.write()
        self.runs(f"golive validate {self.system.name}")

    def _take(self, page: Page, block: Block) -> None:
        lines = [line.strip() for line in block.text.splitlines()]
        takes = [page.takes[line] for line in lines if self._has_met(page.takes, line)]
        for take in takes:
            take(self.filled(page, block.text))
        if not takes:
            assert block.language == "yaml", f"{page.path}:{block.line} is done nothing with"
            self.take_in(self.filled(page, block.text))

    def _has_met(self, declared: Mapping[str, Any], line: str) -> bool:
        if line not in declared:
            return False
        self.met.add(line)
        return True

    def _meet(self, before: Mapping[str, Callable[[], object]], line: str) -> None:
        if self._has_met(before, line):
            before[line]()


@contextmanager
def a_reader(system: SmallSystem, programs: Path) -> Iterator[Reader]:
    """Give a reader who looks after a system, with the programs of a directory before those of ``PATH``."""
    environment = {**os.environ, **system.environment, "PYTHONPATH": str(ROOT)}
    environment["PATH"] = os.pathsep.join((str(programs), environment["PATH"], "/usr/sbin"))
    with a_shell(system.home, environment) as shell:
        yield Reader(shell, system)


def rest(system: SmallSystem) -> None:
    """Let v1 serve again with nothing under way and nothing blocked, as before a page was followed."""
    end_active(system)
    for version in ("v2", "v3"):
        if system.ledger.releases.blocked(system.name, version) is not None:
            system.ledger.releases.block(system.name, version, by="the test", reason="", action="unblock")
    system.file = system.plain_file()
    system.write()
    if system.serving() != "v1":
        system.phase("deploy", "v1")
