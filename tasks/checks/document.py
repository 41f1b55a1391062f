"""Documents that people must be able to rely on."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import unquote, urlsplit

from pydantic import AfterValidator, Field

from tasks.checks import Check
from tasks.checks._files import LARGEST_TEXT, Entry, Patterns, find
from tasks.domain.condition import all_of, held, none_of, regular
from tasks.domain.kind import Duration
from tasks.domain.markdown import Document as Parsed
from tasks.domain.markdown import dates_in, parse
from tasks.domain.outcome import Outcome, Reading, failed, passed, unknown
from tasks.domain.placeholder import is_placeholder, left_in
from tasks.domain.target import Target
from tasks.domain.units import show_seconds

Regular = Annotated[str, AfterValidator(regular)]
_DAY = 86400.0
_MOST_TOLD = 20


class Document(Check):
    """Looks whether Markdown or plain texts are there, filled in, up to date, and say what they must."""

    kind: Literal["document"] = "document"
    """Which kind of check this is."""
    files: Annotated[Patterns, Field(examples=[["ops/RUNBOOK.md", "docs/**/*.md"]])]
    """The paths, relative to the version's code; each must match at least one file that is not empty."""
    every: bool = True
    """Whether each of the files must be as asked for, or one of those that match a path is enough."""
    sections: tuple[str, ...] = Field(default=(), examples=[["Troubleshooting", "Rollback"]])
    """Words that must stand in a heading; upper and lower case are one."""
    mentions: tuple[Regular, ...] = Field(default=(), examples=[["/api/tasks/.*/status", "BaseService"]])
    """Regular expressions that must be found in the text; upper and lower case are one."""
    mentions_not: tuple[Regular, ...] = ()
    """Regular expressions that must not be found in the text; upper and lower case are one."""
    code: dict[str, Regular] = Field(default_factory=dict, examples=[{"python": "history", "bash": "curl"}])
    """Languages of which there must be a block of code, with a regular expression that is found in one of them."""
    filled: tuple[str, ...] = Field(default=(), examples=[["Technical Lead", "Database Admin"]])
    """Labels that must have a value which is no placeholder, as in ``Technical Lead: Ada, +49 …`` or a table's row."""
    placeholders: bool = False
    """Whether placeholders may be left, such as ``[FILL IN]``, ``[To be filled in]``, ``TODO`` and ``_____``."""
    dated: str | None = Field(default=None, examples=["Last updated"])
    """The label before the document's date, which must be a day that is not in the future."""
    max_age: Duration | None = None
    """How long ago the document may be dated at most; where no label is given, how long ago its file was written."""
    min_age: Duration | None = None
    """How long ago the day at ``dated`` must have ended at least, as for a notice that people are given in time."""
    due: str | None = Field(default=None, examples=["Next review"])
    """The label before the day by which the document is to be looked at again, which must not be past."""
    links: bool = False
    """Whether its links to other files must lead to something, and those to headings of its own too."""

    def look(self, target: Target) -> Reading:
        """Return what is missing in which document; one that cannot be read is unknown."""
        readings, seen = [], []
        for pattern in self.files:
            entries = [entry for entry in find(target, pattern, timeout=self.timeout) if entry.type == "f"]
            if not entries:
                readings.append(failed(f"{pattern} is not there"))
                continue
            judged = [self._judge(target, entry) for entry in entries]
            seen += [entry.path for entry in entries]
            good = next((reading for reading in judged if reading.outcome is Outcome.PASSED), None)
            readings += judged if self.every or not good else [good]
        return all_of(readings[:_MOST_TOLD], detail={"files": seen[:_MOST_TOLD]}) if readings else unknown("nothing")

    def _judge(self, target: Target, entry: Entry) -> Reading:
        if entry.size > LARGEST_TEXT:
            return unknown(f"{entry.path}: {entry.size} bytes are too many for a document")
        text = target.world.host.read(Path(entry.path))
        if text is None:
            return unknown(f"{entry.path} went away")
        if not text.strip():
            return failed(f"{entry.path} is empty")
        parsed = parse(text)
        told = all_of(
            [
                passed(f"{len(text.split())} words"),
                *self._judge_content(parsed),
                *self._judge_values(parsed),
                *self._judge_dates(target, entry, parsed),
                *(self._judge_links(target, entry, parsed) if self.links else ()),
            ]
        )
        return Reading(told.outcome, f"{entry.path}: {told.seen}")

    def _judge_content(self, parsed: Parsed) -> list[Reading]:
        lower = [heading.lower() for heading in parsed.headings]
        readings = []
        for section in self.sections:
            has = any(section.lower() in heading for heading in lower)
            readings.append(held(f"section {section}{'' if has else ' is not there'}", has))
        for pattern in self.mentions:
            has = re.search(pattern, parsed.text, re.IGNORECASE) is not None
            readings.append(held(f"{pattern}{'' if has else ' is not mentioned'}", has))
        for pattern in self.mentions_not:
            has = re.search(pattern, parsed.text, re.IGNORECASE) is not None
            readings.append(held(f"{pattern} is {'' if has else 'not '}mentioned", not has))
        for language, pattern in self.code.items():
            blocks = [text for name, text in parsed.code if name in _names_of(language)]
            has = any(re.search(pattern, text) for text in blocks)
            readings.append(held(f"{pattern} in {len(blocks)} blocks of {language}", has))
        return readings

    def _judge_values(self, parsed: Parsed) -> list[Reading]:
        readings = []
        for label in self.filled:
            value = parsed.labels.get(label.lower())
            if value is None:
                readings.append(failed(f"{label} is not there"))
            else:
                is_filled = value and not is_placeholder(value) and not left_in(value)
                readings.append(held(f"{label} is {'filled in' if is_filled else 'not filled in'}", is_filled))
        if not self.placeholders:
            left = [f"{words} in line {line}" for line, words in left_in(parsed.text)]
            readings.append(none_of(left, "", "no placeholder"))
        return readings

    def _judge_dates(self, target: Target, entry: Entry, parsed: Parsed) -> list[Reading]:
        today = target.world.clock.now().date()
        readings = []
        if self.dated is not None:
            readings.append(self._judge_date(self.dated, _date_at(parsed, self.dated), today))
        elif self.max_age is not None:
            age = target.world.clock.now().timestamp() - entry.modified
            limit = show_seconds(self.max_age)
            readings.append(held(f"written {show_seconds(max(age, 0.0))} ago ≤ {limit}", age <= self.max_age))
        if self.due is not None:
            day = _date_at(parsed, self.due)
            readings.append(held(f"{self.due} {day} ≥ {today}", day >= today) if day else failed(f"no {self.due}"))
        return readings

    def _judge_date(self, label: str, day: date | None, today: date) -> Reading:
        if day is None:
            return failed(f"no date at {label}")
        if day > today:
            return failed(f"{label} {day} is in the future")
        age = (today - day).days * _DAY
        if self.min_age is not None and age - _DAY < self.min_age:
            return failed(f"{label} {day}, expected a day that ended {show_seconds(self.min_age)} ago or earlier")
        if self.max_age is None:
            return passed(f"{label} {day}")
        return held(f"{label} {day}, {show_seconds(age)} ago ≤ {show_seconds(self.max_age)}", age <= self.max_age)

    def _judge_links(self, target: Target, entry: Entry, parsed: Parsed) -> list[Reading]:
        dead = []
        for link in parsed.links:
            url = urlsplit(link)
            if url.scheme or url.netloc:
                continue
            if url.path and not target.world.host.exists(Path(entry.path).parent / unquote(url.path)):
                dead.append(link)
            if not url.path and url.fragment and unquote(url.fragment).lower() not in parsed.anchors:
                dead.append(link)
        return [none_of(dead, "leads nowhere", "links lead somewhere")]


def _names_of(language: str) -> set[str]:
    aliases = ({"bash", "sh", "shell", "console", "curl"}, {"python", "py", "python3"}, {"yaml", "yml"})
    return next((names for names in aliases if language.lower() in names), {language.lower()})


def _date_at(parsed: Parsed, label: str) -> date | None:
    value = parsed.labels.get(label.lower(), "")
    return next(iter(dates_in(value)), None)
