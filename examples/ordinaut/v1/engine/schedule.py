"""When a task is due."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

_EVERY = re.compile(r"(\d+)(s|m|h)")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours"}


def first_run(kind: str, expression: str, now: datetime) -> datetime:
    """Return when a task is due first: ``once`` at a time with its zone, ``every`` 30s, 5m or 1h.

    Raises `ValueError` for what is neither.
    """
    if kind == "once":
        at = datetime.fromisoformat(expression)
        if at.tzinfo is None:
            raise ValueError("a time needs its zone, as in 2025-01-10T09:00:00+00:00")
        return at.astimezone(UTC)
    return now + interval(kind, expression)


def interval(kind: str, expression: str) -> timedelta:
    """Return how long it is from one run to the next."""
    match = _EVERY.fullmatch(expression) if kind == "every" else None
    if not match or match[1].strip("0") == "":
        raise ValueError(f"no schedule: {kind} {expression}; expected once TIME, or every 30s, 5m, 1h")
    return timedelta(**{_UNITS[match[2]]: int(match[1])})
