"""Lines of a log: when they were written, and what makes two of them the same message."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, tzinfo
from typing import Any

_ISO = re.compile(r"(\d{4}-\d{2}-\d{2})[T ](\d{2}:\d{2}:\d{2})(?:[.,](\d{1,9}))?\s?(Z|[+-]\d{2}:?\d{2})?")
_ACCESS = re.compile(r"\[(\d{2}/[A-Z][a-z]{2}/\d{4}:\d{2}:\d{2}:\d{2} [+-]\d{4})\]")
_SYSLOG = re.compile(r"^([A-Z][a-z]{2} [ \d]\d \d{2}:\d{2}:\d{2})\b")
_KEYS = ("timestamp", "@timestamp", "time", "ts", "asctime", "datetime")
_WHERE = 120  # a moment stands at the beginning of its line, after what a collector may have put before it

_VARYING = re.compile(
    r"""
      \b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b
    | \b0x[0-9a-f]+\b | \b[0-9a-f]{12,}\b | \d+ | "[^"]*" | '[^']*'
    """,
    re.VERBOSE | re.IGNORECASE,
)

ERROR = r"\b(ERROR|CRITICAL|FATAL|PANIC|EMERG|ALERT)\b|^Traceback \(most recent call last\)|^panic: "
"""What tells a line of an error, in the forms of most loggers."""

CREDENTIALS = (
    r"\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*"  # a JSON web token
    r"|://[^/\s:@]+:[^/\s@•*]+@"  # a password in a URL
    r"|\b[Bb]earer\s+[\w.~+/-]{16,}"
    r"|(?i:\b(?:password|passwd|secret|api[_-]?key|token)\b[\"']?\s*[=:]\s*[\"']?(?![*•<\[{\"'\s]|null|none|true|false)[^\s\"',;]{6,})"
)
"""What tells a line that shows a secret."""


def moment_of(line: str, zone: tzinfo, now: datetime) -> datetime | None:
    """Return when a line says that it was written; ``zone`` is meant where it names none."""
    if line.startswith("{") and (found := _of_json(line, zone)):
        return found
    head = line[:_WHERE]
    if match := _ISO.search(head):
        day, time, fraction, offset = match.groups()
        text = f"{day}T{time}.{(fraction or '0')[:6]:0<6}{offset or ''}"
        return _parsed(text, zone)
    if match := _ACCESS.search(line):
        return datetime.strptime(match[1], "%d/%b/%Y:%H:%M:%S %z")
    if match := _SYSLOG.match(head):
        try:
            found = datetime.strptime(f"{now.year} {match[1]}", "%Y %b %d %H:%M:%S").replace(tzinfo=zone)
        except ValueError:
            return None
        # Such a line names no year: one that would lie in the future is of the last one.
        return found if (found - now).total_seconds() < 86400 else found.replace(year=now.year - 1)
    return None


def _of_json(line: str, zone: tzinfo) -> datetime | None:
    document = as_object(line)
    value = next((document[key] for key in _KEYS if key in document), None) if document else None
    if isinstance(value, str):
        return _parsed(value.replace(",", "."), zone)
    if isinstance(value, int | float) and not isinstance(value, bool):
        seconds = value / 1000 if value > 1e11 else value
        try:
            return datetime.fromtimestamp(seconds, UTC)
        except (OverflowError, ValueError, OSError):
            return None
    return None


def _parsed(text: str, zone: tzinfo) -> datetime | None:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=zone)


def since(lines: Iterable[str], start: datetime, zone: tzinfo, now: datetime) -> Iterator[tuple[str, bool]]:
    """Give each line that was written since a moment, and whether it was known by its own time.

    A line without a time belongs to the one before it, as those of a traceback do.
    """
    within = False
    for line in lines:
        moment = moment_of(line, zone, now)
        if moment is not None:
            within = moment >= start
        if within:
            yield line, moment is not None


def as_object(line: str) -> dict[str, Any] | None:
    """Return the JSON object that a line is, or None."""
    try:
        found = json.loads(line)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def signature(line: str) -> str:
    """Return what is the same in each line of one message: numbers, ids and quoted values are left out."""
    return " ".join(_VARYING.sub("#", line).split())[:200]
