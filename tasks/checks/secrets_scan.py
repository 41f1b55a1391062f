"""Secrets that were left in the code."""

from __future__ import annotations

import json
from fnmatch import fnmatchcase, translate
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from tasks.checks import Check
from tasks.checks._files import Pattern, find_below, place_of, read_text
from tasks.domain.condition import none_of
from tasks.domain.errors import CommandFailed
from tasks.domain.kind import Duration
from tasks.domain.outcome import Outcome, Reading, unknown
from tasks.domain.ports import Command
from tasks.domain.release import BUILD_LOG, IMAGE_FILE, MARKER
from tasks.domain.target import Target

MOST_KEPT = 200
"""More findings than this are counted and not kept."""
_OWN = (MARKER, IMAGE_FILE, BUILD_LOG)
"""What golive itself puts into a version's directory: digests, which look like secrets."""


class SecretsScan(Check):
    """Searches the version's code for secrets, with detect-secrets; each is told by file and line, and never shown."""

    kind: Literal["secrets_scan"] = "secrets_scan"
    """Which kind of check this is."""
    directory: str = "."
    """The directory, relative to the version's code, all of whose files are read, whether Git knows them or not."""
    baseline: str | None = Field(default=None, examples=[".secrets.baseline"])
    """A file that ``detect-secrets scan`` wrote, relative to the directory; what stands in it is known and allowed."""
    exclude: tuple[Pattern, ...] = Field(
        default=(".git/*", ".venv/*", "node_modules/*"), examples=[[".venv/*", "*.lock", "tests/fixtures/*"]]
    )
    """Paths, relative to the directory, that are not searched; ``*`` stands for directories too.

    Nor are golive's own files there.
    A single line is left out by the remark ``pragma: allowlist secret`` in it.
    """
    without: tuple[Annotated[str, Field(pattern=r"^\w+$")], ...] = Field(default=(), examples=[["KeywordDetector"]])
    """Detectors that are not used, by the names that detect-secrets has for them."""
    timeout: Duration = 120.0
    """After how long the look is given up and counts as unknown; a megabyte of code takes some seconds."""
    program: str = "detect-secrets"
    """The program."""

    def look(self, target: Target) -> Reading:
        """Return where secrets stand; no file to read, or no scanner, is unknown."""
        directory = place_of(target, self.directory)
        count = len(find_below(target, [directory], ["-type", "f", "-size", "+0"], follow=False, timeout=self.timeout))
        if not count:
            return unknown(f"there is no file in {directory}")
        known = self._known(target, directory)
        if isinstance(known, Reading):
            return known
        found = [one for one in self._scan(target, directory) if self._counts(one, known)]
        told = [f"{one['filename']}:{one['line_number']} {one['type']}" for one in found]
        allowed = f", {len(known)} allowed" if known else ""
        reading = none_of(told, f"in {count} files", f"no secret in {count} files{allowed}")
        kept = [{"file": one["filename"], "line": one["line_number"], "type": one["type"]} for one in found[:MOST_KEPT]]
        outcome = Outcome.FAILED if found else Outcome.PASSED
        return Reading(outcome, reading.seen, len(found), "secrets", 0, detail={"findings": kept})

    def _known(self, target: Target, directory: str) -> set[tuple[str, str]] | Reading:
        """Return file and hash of each secret that is allowed; one that a person marked as real is not."""
        if self.baseline is None:
            return set()
        text = read_text(target, str(Path(directory) / self.baseline))
        if text is None:
            return unknown(f"{self.baseline} is not there")
        return {
            (str(Path(one["filename"])), one["hashed_secret"])
            for one in _findings(text, self.baseline)
            if not one.get("is_secret")
        }

    def _scan(self, target: Target, directory: str) -> list[dict[str, Any]]:
        # Without -n it would try whether what it found works, at the services themselves.
        argv = [self.program, "scan", "-n", "--all-files"]
        for pattern in (*self.exclude, *_OWN):
            argv += ["--exclude-files", rf"^(\./)?{translate(pattern)}"]
        for detector in self.without:
            argv += ["--disable-plugin", detector]
        command = Command((*argv, "."), cwd=Path(directory), timeout=self.timeout)
        return _findings(target.world.host.run(command).stdout, self.program)

    def _counts(self, found: dict[str, Any], known: set[tuple[str, str]]) -> bool:
        path = str(Path(found["filename"]))
        if path in {self.baseline, *_OWN} or any(fnmatchcase(path, pattern) for pattern in self.exclude):
            return False
        return (path, found["hashed_secret"]) not in known


def _findings(text: str, where: str) -> list[dict[str, Any]]:
    try:
        results = json.loads(text)["results"]
    except (ValueError, KeyError, TypeError) as error:
        raise CommandFailed("no list of findings", where=where) from error
    return [one for found in results.values() for one in found]
