"""Files and directories of the machine."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from tasks.checks import Check
from tasks.checks._files import Entry, Patterns, find, pieces
from tasks.checks._git import commit_time
from tasks.domain.condition import all_of, held, none_of, regular
from tasks.domain.kind import Duration, Size
from tasks.domain.outcome import Outcome, Reading, failed, unknown
from tasks.domain.placeholder import left_in
from tasks.domain.ports import Command
from tasks.domain.target import Target
from tasks.domain.units import show_bytes, show_seconds

Mode = Annotated[str, Field(pattern=r"^0?[0-7]{3,4}$", examples=["0600"])]
COMMIT = "commit"
_MOST_TOLD = 20
_AHEAD = 60.0  # seconds by which a file may be dated in the future, since clocks differ


class File(Check):
    """Looks whether files are there, or gone, and are as they must be: kind, rights, age, size and content."""

    of_machine: ClassVar[bool] = True

    kind: Literal["file"] = "file"
    """Which kind of check this is."""
    files: Annotated[Patterns, Field(examples=[["ops/*.yml", "/usr/local/bin/daily_backup.sh"]])]
    """The paths, relative to the version's code; ``*``, ``?``, ``[…]`` and ``**`` stand for what matches."""
    exists: bool = True
    """Whether each must be there; ``false`` means that it must be gone."""
    at_least: Annotated[int, Field(ge=1)] = 1
    """How many must match each path."""
    at_most: Annotated[int | None, Field(ge=1)] = None
    """How many may match each path."""
    only_newest: bool = False
    """Judge only the newest of those that match a path, as the last of many backups."""
    type: Literal["file", "directory", "any"] = "file"
    """What must lie there; links are followed."""
    mode: Mode | None = None
    """The permission bits that it must have, in octal digits."""
    at_most_mode: Mode | None = None
    """The permission bits beyond which it may have none: 0640 permits 0600 and refuses 0644."""
    executable: bool | None = None
    """Whether its owner may execute it."""
    owner: str | None = None
    """The user who must own it."""
    group: str | None = None
    """The group that it must belong to."""
    min_size: Size = 1
    """The least size of a file; by default it must not be empty."""
    max_size: Size | None = None
    """The largest size of a file."""
    max_age: Duration | None = None
    """How long ago it may have been written at most."""
    min_age: Duration | None = None
    """How long ago it must have been written at least."""
    newer_than: str | None = Field(default=None, examples=["commit", "/var/backups/last"])
    """A path; what is judged must have been written later. ``commit`` means the release's commit in Git."""
    pattern: str | None = None
    """A regular expression that must be found in it, within one piece of lines of 4 MiB."""
    not_pattern: str | None = None
    """A regular expression that must not be found in it."""
    placeholders: bool = True
    """Whether placeholders may be left in it, such as ``[FILL IN]``, ``TODO`` and ``changeme``."""
    sha256: Annotated[str | None, Field(pattern=r"^[0-9a-f]{64}$")] = None
    """The SHA-256 of its content."""

    _patterns = field_validator("pattern", "not_pattern")(regular)

    @model_validator(mode="after")
    def _one_thing(self) -> Self:
        given = self.model_fields_set - {"kind", "name", "files", "exists", "type", *Check.model_fields}
        if not self.exists and given:
            raise ValueError(f"what must not be there has no {', '.join(sorted(given))}")
        if self.at_most is not None and self.at_most < self.at_least:
            raise ValueError("at_most is less than at_least")
        return self

    def look(self, target: Target) -> Reading:
        """Return what is missing or not as it must be; a place that cannot be looked into is unknown."""
        found = {pattern: find(target, pattern, timeout=self.timeout) for pattern in self.files}
        if not self.exists:
            return all_of(_gone(pattern, entries) for pattern, entries in found.items())
        newer_than = self._moment(target)
        if isinstance(newer_than, Reading):
            return newer_than
        readings, judged = [], []
        for pattern, entries in found.items():
            readings.append(self._judge_count(pattern, entries))
            chosen = sorted(entries, key=lambda entry: entry.modified)[-1:] if self.only_newest else entries
            judged += [(entry, self._judge(target, entry, newer_than)) for entry in chosen]
        bad = [reading for _, reading in judged if reading.outcome is not Outcome.PASSED]
        told = [reading for _, reading in judged] if len(judged) == 1 else bad[:_MOST_TOLD]
        more = [Reading(bad[-1].outcome, f"and {len(bad) - _MOST_TOLD} more")] if len(bad) > _MOST_TOLD else []
        detail = [_evidence(entry) for entry, _ in judged[:_MOST_TOLD]]
        return all_of([*readings, *told, *more], value=len(judged), unit="files", detail={"files": detail})

    def _moment(self, target: Target) -> float | Reading | None:
        if self.newer_than is None:
            return None
        if self.newer_than == COMMIT:
            return commit_time(target, timeout=self.timeout)
        entries = find(target, self.newer_than, timeout=self.timeout)
        return max(entry.modified for entry in entries) if entries else unknown(f"{self.newer_than} is not there")

    def _judge_count(self, pattern: str, entries: Sequence[Entry]) -> Reading:
        if not entries:
            return failed(f"{pattern} is not there")
        count = len(entries)
        if self.at_most is not None and count > self.at_most:
            return failed(f"{count} match {pattern}, at most {self.at_most}")
        if self.at_least > 1:
            return held(f"{count} match {pattern} ≥ {self.at_least}", count >= self.at_least)
        return held(f"{pattern} is there" if count == 1 else f"{count} match {pattern}", holds=True)

    def _judge(self, target: Target, entry: Entry, newer_than: float | None) -> Reading:
        letter = {"file": "f", "directory": "d", "any": entry.type}[self.type]
        if entry.type != letter:
            return failed(f"{entry.path} is no {self.type}")
        readings = [*self._judge_rights(entry), *self._judge_age(target, entry, newer_than)]
        if entry.type == "f":
            readings += self._judge_content(target, entry)
        told = all_of(readings) if readings else held("is there", holds=True)
        return Reading(told.outcome, f"{entry.path}: {told.seen}", told.value, told.unit, told.limit)

    def _judge_rights(self, entry: Entry) -> list[Reading]:
        readings = []
        if self.mode is not None:
            readings.append(held(f"mode {entry.mode:04o} = {self.mode:0>4}", entry.mode == int(self.mode, 8)))
        if self.at_most_mode is not None:
            within = not entry.mode & ~int(self.at_most_mode, 8)
            readings.append(held(f"mode {entry.mode:04o} within {self.at_most_mode:0>4}", within))
        if self.executable is not None:
            can = bool(entry.mode & 0o100)
            readings.append(held("executable" if can else "not executable", can == self.executable))
        if self.owner is not None:
            readings.append(held(f"owner {entry.owner} = {self.owner}", entry.owner == self.owner))
        if self.group is not None:
            readings.append(held(f"group {entry.group} = {self.group}", entry.group == self.group))
        return readings

    def _judge_age(self, target: Target, entry: Entry, newer_than: float | None) -> list[Reading]:
        readings = []
        age = target.world.clock.now().timestamp() - entry.modified
        if (self.max_age is not None or self.min_age is not None) and age < -_AHEAD:
            return [unknown(f"written {show_seconds(-age)} in the future")]
        shown = f"{show_seconds(max(age, 0.0))} old"
        if self.max_age is not None:
            readings.append(held(f"{shown} ≤ {show_seconds(self.max_age)}", age <= self.max_age))
        if self.min_age is not None:
            readings.append(held(f"{shown} ≥ {show_seconds(self.min_age)}", age >= self.min_age))
        if newer_than is not None:
            late = entry.modified - newer_than
            words = f"{show_seconds(abs(late))} {'newer' if late > 0 else 'older'} than {self.newer_than}"
            readings.append(held(words, late > 0))
        return readings

    def _judge_content(self, target: Target, entry: Entry) -> list[Reading]:
        size, shown = entry.size, show_bytes(entry.size)
        readings = []
        if size < self.min_size:
            readings.append(failed(f"{shown} ≥ {show_bytes(self.min_size)}" if size else "is empty"))
        if self.max_size is not None:
            readings.append(held(f"{shown} ≤ {show_bytes(self.max_size)}", size <= self.max_size))
        readings += self._judge_text(target, entry)
        if self.sha256 is not None:
            command = Command(("sha256sum", "-z", "--", entry.path), timeout=self.timeout)
            seen = target.world.host.run(command).stdout.split()[0]
            readings.append(held(f"SHA-256 {seen[:12]}… = {self.sha256[:12]}…", seen == self.sha256))
        return readings

    def _judge_text(self, target: Target, entry: Entry) -> list[Reading]:
        if self.pattern is None and self.not_pattern is None and self.placeholders:
            return []
        has, has_not, left = False, True, list[str]()
        line = 0
        for text in pieces(target, entry.path, 0, entry.size, timeout=self.timeout):
            has = has or (self.pattern is not None and bool(re.search(self.pattern, text, re.MULTILINE)))
            if self.not_pattern is not None and re.search(self.not_pattern, text, re.MULTILINE):
                has_not = False
            if not self.placeholders:
                left += [f"{words} in line {line + number}" for number, words in left_in(text)]
            line += text.count("\n")
        readings = []
        if self.pattern is not None:
            readings.append(held(f"{self.pattern} {'found' if has else 'not found'}", has))
        if self.not_pattern is not None:
            readings.append(held(f"{self.not_pattern} {'not found' if has_not else 'found'}", has_not))
        if not self.placeholders:
            readings.append(none_of(left, "", "no placeholder"))
        return readings


def _gone(pattern: str, entries: Sequence[Entry]) -> Reading:
    return none_of([entry.path for entry in entries], "is there", f"{pattern} is not there")


def _evidence(entry: Entry) -> dict[str, object]:
    return {
        "path": entry.path, "mode": f"{entry.mode:04o}", "owner": f"{entry.owner}:{entry.group}", "size": entry.size,
        "modified": entry.modified,
    }  # fmt: skip
