"""What test runs leave behind: results in JUnit's XML, coverage in Cobertura's XML or coverage.py's JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any
from xml.etree import ElementTree as ET  # expat itself refuses entities that grow

from pydantic import Field

from tasks.checks._files import Entry, Patterns, find, read_text
from tasks.checks._git import commit_time
from tasks.domain.condition import all_of, held
from tasks.domain.kind import Duration, Share, Strict
from tasks.domain.outcome import Outcome, Reading, judge_limit, unknown
from tasks.domain.target import Target
from tasks.domain.units import show_seconds

_MOST_KEPT = 50
_DOCTYPE = re.compile(r"<!DOCTYPE[^>\[]*\[")


@dataclass(frozen=True)
class Report:
    """One report's file and its text."""

    entry: Entry
    text: str


class ReportFiles(Strict):
    """Where reports lie, and of when they must be."""

    files: Annotated[Patterns, Field(examples=[["reports/junit-*.xml"]])]
    """The reports, relative to the version's code; each path must match at least one."""
    newer_than_commit: bool = False
    """Whether they must have been written after the release's commit was made, which the Git source's mirror knows."""
    max_age: Duration | None = None
    """How long ago they may have been written at most."""

    def entries(self, target: Target, *, timeout: float) -> dict[str, list[Entry]]:
        """Return the files that match each path."""
        return {path: find(target, path, timeout=timeout) for path in self.files}

    def judge_files(
        self, target: Target, *, before: Mapping[str, list[Entry]] | None, timeout: float
    ) -> tuple[list[Reading], list[Report]]:
        """Return what is wrong with the files as such, and those to be read.

        ``before`` are those that were there when a command began that was to write them anew.
        """
        readings, reports = [], []
        made = commit_time(target, timeout=timeout) if self.newer_than_commit else None
        now = target.world.clock.now().timestamp()
        former = {(one.path, one.inode, one.modified) for entries in (before or {}).values() for one in entries}
        for path, entries in self.entries(target, timeout=timeout).items():
            if not entries:
                readings.append(unknown(f"{path} is not there"))
            for one in entries:
                if (one.path, one.inode, one.modified) in former:
                    readings.append(unknown(f"{one.path} was not written anew"))
                    continue
                if made is not None:
                    is_after = one.modified > made
                    readings.append(held(f"{one.path} {'after' if is_after else 'before'} the commit", is_after))
                if self.max_age is not None:
                    age = now - one.modified
                    words = f"{one.path} {show_seconds(max(age, 0.0))} old ≤ {show_seconds(self.max_age)}"
                    readings.append(held(words, age <= self.max_age))
                reports.append(Report(one, read_text(target, one.path) or ""))
        return readings, reports


class JunitReport(ReportFiles):
    """What the results of tests must be, in JUnit's XML; several reports are added up."""

    tests: Annotated[int | None, Field(ge=1)] = None
    """How many tests there must be."""
    min_tests: Annotated[int, Field(ge=1)] = 1
    """How many tests there must be at least."""
    pass_rate: Annotated[Share, Field(gt=0, le=1)] = 1.0
    """What share of the tests that were not skipped must pass."""
    max_skipped: Annotated[int | None, Field(ge=0)] = None
    """How many may be skipped; ``null`` for any number."""

    def judge_junit(
        self, target: Target, *, timeout: float, before: Mapping[str, list[Entry]] | None = None
    ) -> Reading:
        """Return whether the tests passed; a report that is missing or cannot be read is unknown."""
        readings, reports = self.judge_files(target, before=before, timeout=timeout)
        count = {"tests": 0, "failed": 0, "skipped": 0}
        bad: list[str] = []
        for report in reports:
            root = _tree(report.text)
            if root is None or root.tag not in {"testsuites", "testsuite"}:
                readings.append(unknown(f"{report.entry.path} is no JUnit report"))
                continue
            for case in root.iter("testcase"):
                count["tests"] += 1
                count["skipped"] += case.find("skipped") is not None
                if case.find("failure") is not None or case.find("error") is not None:
                    count["failed"] += 1
                    bad.append(f"{case.get('classname', '')}.{case.get('name', '')}".strip("."))
            # A module that could not be imported has no test of its own in some writers' reports.
            told = sum(_number(suite, "errors") for suite in root.iter("testsuite"))
            lost = max(0, told - len(list(root.iter("error"))))
            count["failed"] += lost
            count["tests"] += lost
        readings += self._judge_counts(count, bad)
        return all_of(readings, detail={**count, "bad": bad[:_MOST_KEPT]})

    def _judge_counts(self, count: Mapping[str, int], bad: list[str]) -> list[Reading]:
        run = count["tests"] - count["skipped"]
        if run <= 0:
            return [unknown(f"no test was run, {count['skipped']} skipped")]
        rate = (run - count["failed"]) / run
        named = f": {', '.join(bad[:5])}" if bad else ""
        words = f"{run - count['failed']} of {run} tests passed, {rate:.1%} ≥ {self.pass_rate:.1%}{named}"
        outcome = Outcome.PASSED if round(rate, 9) >= round(self.pass_rate, 9) else Outcome.FAILED
        readings = [Reading(outcome, words, round(100 * rate, 2), "%", round(100 * self.pass_rate, 2))]
        if self.tests is not None:
            readings.append(held(f"{count['tests']} tests = {self.tests}", count["tests"] == self.tests))
        elif self.min_tests > 1:
            readings.append(held(f"{count['tests']} tests ≥ {self.min_tests}", count["tests"] >= self.min_tests))
        if self.max_skipped is not None:
            skipped = count["skipped"]
            readings.append(held(f"{skipped} skipped ≤ {self.max_skipped}", skipped <= self.max_skipped))
        return readings


class CoverageReport(ReportFiles):
    """What share of the lines tests must have reached, by Cobertura's XML or coverage.py's JSON."""

    at_least: Annotated[Share, Field(ge=0, le=1)] = 0.0
    """What share of all lines must be reached."""
    packages: dict[str, Share] = Field(default_factory=dict, examples=[{"api": "80%", "engine": "90%"}])
    """Directories, or files, with the share of their lines that must be reached."""

    def judge_coverage(
        self, target: Target, *, timeout: float, before: Mapping[str, list[Entry]] | None = None
    ) -> Reading:
        """Return whether enough was reached; a report that is missing or tells no line is unknown."""
        readings, reports = self.judge_files(target, before=before, timeout=timeout)
        lines: dict[str, tuple[int, int]] = {}
        for report in reports:
            found = _coverage(report.text)
            if not found:
                readings.append(unknown(f"{report.entry.path} tells no coverage"))
            lines |= found
        readings.append(_reached("all", lines.values(), self.at_least))
        for package, share in self.packages.items():
            within = f"/{package.strip('/')}/"
            below = [both for path, both in lines.items() if within in f"/{path}/"]
            readings.append(_reached(package, below, share))
        shares = {path: round(100 * hit / total, 1) for path, (hit, total) in sorted(lines.items()) if total}
        return all_of(readings, detail={"files": dict(list(shares.items())[:200])})


def _reached(what: str, counts: Iterable[tuple[int, int]], least: float) -> Reading:
    both = list(counts)
    hit, total = sum(one for one, _ in both), sum(one for _, one in both)
    share = round(100 * hit / total, 2) if total else None
    return judge_limit(share, round(100 * least, 2), "%", f"{what}: coverage", at_least=True)


def _coverage(text: str) -> dict[str, tuple[int, int]]:
    """Return of each file how many of its lines were reached, and how many there are."""
    if text.lstrip().startswith("{"):
        try:
            files: dict[str, Any] = json.loads(text)["files"]
            sums = {path: one["summary"] for path, one in files.items()}
            return {path: (one["covered_lines"], one["num_statements"]) for path, one in sums.items()}
        except (ValueError, KeyError, TypeError):
            return {}
    root = _tree(text)
    found: dict[str, tuple[int, int]] = {}
    for one in root.iter("class") if root is not None else ():
        hits = [_number(line, "hits") > 0 for line in one.findall("lines/line")]
        found[_within(root, one.get("filename", ""))] = (sum(hits), len(hits))
    return found


def _within(root: ET.Element | None, path: str) -> str:
    """Return a path with the directory that the report counts it from, which tells packages apart."""
    sources = [one.text or "" for one in root.iter("source")] if root is not None else []
    return f"{sources[0].rstrip('/').rpartition('/')[2]}/{path}" if len(sources) == 1 and sources[0] else path


def _tree(text: str) -> ET.Element | None:
    if _DOCTYPE.search(text):
        return None  # no writer of reports declares entities
    try:
        return ET.fromstring(text)  # noqa: S314 - entities are refused above
    except ET.ParseError:
        return None


def _number(element: ET.Element, name: str) -> int:
    value = element.get(name, "0")
    return int(value) if value.isdigit() else 0
