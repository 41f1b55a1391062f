"""What a service writes to its log."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Annotated, Any, ClassVar, Literal, Self
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, Field, field_validator, model_validator

from tasks.checks import Check
from tasks.checks._files import Entry, Pattern
from tasks.checks._log_source import files_of, lines_of_command, lines_since_offset, lines_since_time, offsets_of
from tasks.domain.condition import all_of, held, none_of, regular
from tasks.domain.errors import NotFound
from tasks.domain.kind import Duration, Share, Size, no_secret_in
from tasks.domain.log_lines import CREDENTIALS, ERROR, as_object, signature
from tasks.domain.log_lines import since as written_since
from tasks.domain.outcome import Outcome, Reading, failed, judge_limit, passed, unknown
from tasks.domain.target import Target
from tasks.domain.units import show_bytes

Regular = Annotated[str, AfterValidator(regular)]
_MOST_KEPT = 10
_LONGEST = 300
_MOST_SIGNATURES = 500


@dataclass
class _Found:
    """What the lines of a log come to."""

    lines: int = 0
    errors: int = 0
    counted: int = 0
    kept: list[str] = field(default_factory=list)
    signatures: Counter[str] = field(default_factory=Counter)
    patterns: Counter[str] = field(default_factory=Counter)
    no_json: int = 0
    secrets: int = 0


class Log(Check):
    """Reads what was written to a log since a moment, and counts errors and what else must or must not be there."""

    of_machine: ClassVar[bool] = True

    advice: ClassVar[str] = (
        "read the lines around the first of these in the log itself; what came before it is nearer to the cause"
    )

    kind: Literal["log"] = "log"
    """Which kind of check this is."""
    files: tuple[Pattern, ...] = Field(default=(), examples=[["/var/log/shop/*.log"]])
    """The log files, relative to the version's code; those that were rotated away are read on from where they were."""
    argv: Annotated[tuple[str, ...], AfterValidator(no_secret_in)] = Field(
        default=(),
        examples=[
            ["docker", "logs", "--since", "{since}", "api"],
            ["journalctl", "--quiet", "--output=cat", "--unit=shop", "--since=@{epoch}"],
        ],
    )
    """A command that prints the log instead; ``{since}`` is the moment from which on it is asked for, in UTC, and
    ``{epoch}`` the same in seconds since 1970, which journalctl takes after an ``@``."""
    last: Duration | None = Field(default=None, examples=["1h"])
    """For how long back lines count, by the times that they bear; by default since the release began."""
    back_to_last_look: bool = True
    """Whether ``last`` reaches back to the check's last look in the release where that is longer ago, so that a look
    that comes late misses nothing."""
    timezone: str = "UTC"
    """The time zone of lines that name none."""
    error: Regular = ERROR
    """A regular expression that tells a line of an error."""
    max_errors: Annotated[int | None, Field(ge=0)] = 0
    """How many such lines there may be; ``null`` for any number."""
    max_share: Share | None = None
    """What share of the lines, or of those that match ``of``, they may be; then ``max_errors`` has no default."""
    of: Regular | None = Field(default=None, examples=['"(GET|POST) '])
    """A regular expression that tells the lines of which ``max_share`` is a share."""
    max_repeats: Annotated[int | None, Field(ge=1)] = None
    """How often one message of an error may come; numbers, ids and quoted values do not make it another one."""
    only_new: bool = False
    """Count only errors whose message was not in the log before the release."""
    ignore: tuple[Regular, ...] = ()
    """Regular expressions; lines in which one is found count for nothing."""
    required: tuple[Regular, ...] = Field(default=(), examples=[["Scheduler started"]])
    """Regular expressions, each of which must be found in some line."""
    forbidden: tuple[Regular, ...] = Field(default=(), examples=[["ImportError|ModuleNotFoundError"]])
    """Regular expressions that must be found in no line."""
    json_: bool = Field(default=False, alias="json")
    """Whether each line must be a JSON object."""
    credentials: bool = True
    """Whether lines may show what looks like a secret: a token, a password in a URL, ``password=…``."""
    secrets: tuple[str, ...] = Field(default=(), examples=[["${env:JWT_SECRET}"]])
    """Secrets that must stand in no line."""
    max_size: Size | None = None
    """The largest size of each file; a larger one is not rotated as it should be."""
    may_be_quiet: bool = False
    """Whether it is right that nothing at all was written; otherwise that leaves the outcome unknown."""

    @field_validator("timezone")
    @classmethod
    def _is_a_zone(cls, name: str) -> str:
        try:
            ZoneInfo(name)
        except (KeyError, ValueError, OSError) as error:
            raise ValueError(f"{name!r} is no time zone") from error
        return name

    @model_validator(mode="after")
    def _has_one_source(self) -> Self:
        if bool(self.files) == bool(self.argv):
            raise ValueError("one of files, argv is needed")
        if self.argv and (self.max_size is not None or self.last is None):
            raise ValueError("a command's log needs last and has no max_size")
        if self.of is not None and self.max_share is None:
            raise ValueError("of needs max_share")
        return self

    @property
    def compares(self) -> bool:
        """Whether it reads on from where the log ended before the release."""
        return self.last is None or self.only_new

    def look(self, target: Target) -> Reading:
        """Return what stands in the log; no file, no record of where it ended, or nothing written is unknown."""
        entries = files_of(target, self.files, timeout=self.timeout)
        if self.files and not entries:
            return unknown(f"{', '.join(self.files)}: no such file")
        before = target.baseline.get(self.name, {})
        if (self.last is None or self.only_new) and not before:
            return unknown("no baseline is on record; it is recorded before the release")
        found = self._read(target, self._lines(target, entries, before), set(before.get("signatures", ())))
        readings = self._judge(found)
        if self.max_size is not None:
            large = [f"{one.path} ({show_bytes(one.size)})" for one in entries if one.size > self.max_size]
            readings.append(none_of(large, f"> {show_bytes(self.max_size)}", f"each ≤ {show_bytes(self.max_size)}"))
        detail = {"lines": found.lines, "errors": found.errors, "kept": found.kept}
        return all_of(readings, detail=detail | {"offsets": offsets_of(entries)})

    def record(self, target: Target) -> Mapping[str, Any]:
        """Return where the files end now and which errors stand in them, to be kept before the release."""
        entries = files_of(target, self.files, timeout=self.timeout)
        if self.argv:
            lines: Iterable[str] = lines_of_command(target, self.argv, self._start(target), timeout=self.timeout)
        elif entries:
            tails = {one.path: {"inode": one.inode, "size": max(0, one.size - (8 << 20))} for one in entries}
            lines = lines_since_offset(target, entries, tails, timeout=self.timeout) if self.only_new else ()
        else:
            raise NotFound("no such log file", where=", ".join(self.files))
        found = self._read(target, lines, set())
        signatures = [one for one, _ in found.signatures.most_common(_MOST_SIGNATURES)]
        return {"offsets": offsets_of(entries), "signatures": signatures}

    def _start(self, target: Target) -> datetime | None:
        if self.last is None:
            return None
        last = target.back_to_last_look(self.name, self.last) if self.back_to_last_look else self.last
        return target.world.clock.now() - timedelta(seconds=last)

    def _lines(self, target: Target, entries: list[Entry], before: Mapping[str, Any]) -> Iterable[str]:
        start, now, zone = self._start(target), target.world.clock.now(), ZoneInfo(self.timezone)
        if self.argv:
            return lines_of_command(target, self.argv, start, timeout=self.timeout)
        if start is None:
            return lines_since_offset(target, entries, before.get("offsets", {}), timeout=self.timeout)
        lines = lines_since_time(target, entries, start, zone, timeout=self.timeout)
        return (line for line, _ in written_since(lines, start, zone, now))

    def _read(self, target: Target, lines: Iterable[str], known: set[str]) -> _Found:
        found = _Found()
        secrets = [value for name in self.secrets if (value := target.fill(name))]
        for line in lines:
            if any(re.search(pattern, line) for pattern in self.ignore):
                continue
            found.lines += 1
            found.counted += self.of is None or re.search(self.of, line) is not None
            found.no_json += self.json_ and as_object(line) is None
            shows = any(value in line for value in secrets)
            found.secrets += shows or (not self.credentials and re.search(CREDENTIALS, line) is not None)
            hits = [pattern for pattern in (*self.required, *self.forbidden) if re.search(pattern, line)]
            found.patterns.update(hits)
            is_error = re.search(self.error, line) and signature(line) not in known
            if is_error:
                found.errors += 1
                found.signatures[signature(line)] += 1
            is_evidence = is_error or any(pattern in self.forbidden for pattern in hits)
            if is_evidence and not shows and len(found.kept) < _MOST_KEPT:
                found.kept.append(re.sub(CREDENTIALS, "•••", line)[:_LONGEST])
        return found

    def _judge(self, found: _Found) -> list[Reading]:
        if not found.lines and not self.may_be_quiet:
            return [unknown("nothing was written")]
        readings = [passed(f"{found.lines} lines"), *self._judge_errors(found)]
        for pattern in self.required:
            count = found.patterns[pattern]
            readings.append(held(f"{pattern}: {count} lines ≥ 1", count))
        for pattern in self.forbidden:
            count = found.patterns[pattern]
            readings.append(held(f"{pattern}: {count} lines ≤ 0", not count))
        if self.json_:
            readings.append(held(f"{found.no_json} lines are no JSON object", not found.no_json))
        if self.secrets or not self.credentials:
            readings.append(held(f"{found.secrets} lines show a secret", not found.secrets))
        return readings

    def _judge_errors(self, found: _Found) -> list[Reading]:
        readings = []
        what = "new errors" if self.only_new else "errors"
        by_count = self.max_share is None or "max_errors" in self.model_fields_set
        if self.max_errors is not None and by_count:
            reading = judge_limit(found.errors, self.max_errors, "lines", what)
            first = f": {found.kept[0]}" if found.kept and reading.outcome is Outcome.FAILED else ""
            readings.append(Reading(reading.outcome, reading.seen + first, reading.value, reading.unit, reading.limit))
        if self.max_share is not None:
            share = 100 * found.errors / found.counted if found.counted else None
            readings.append(judge_limit(share, round(100 * self.max_share, 6), "%", f"share of {what}"))
        if self.max_repeats is not None:
            often = [f"{count} × {text}" for text, count in found.signatures.most_common() if count > self.max_repeats]
            readings.append(failed(f"{often[0]}, at most {self.max_repeats}") if often else passed("none repeats"))
        return readings
