"""When the change window of a release file is open."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from tasks.domain.errors import WindowClosed
from tasks.spec.window import Window

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


def is_open(window: Window, at: datetime) -> bool:
    """Tell whether a moment lies in the change window."""
    local = at.astimezone(ZoneInfo(window.timezone))
    start, end = _bounds(window)
    since_midnight = timedelta(hours=local.hour, minutes=local.minute, seconds=local.second)
    today, yesterday = _DAYS[local.weekday()], _DAYS[local.weekday() - 1]
    if start <= end:
        return today in window.days and start <= since_midnight < end
    return (today in window.days and since_midnight >= start) or (yesterday in window.days and since_midnight < end)


def require_open(window: Window, at: datetime, *, seen: str, again: str) -> None:
    """Raise `WindowClosed`, with what was ``seen`` and what to do ``again``, unless the window is open."""
    if not is_open(window, at):
        opens = next_opening(window, at)
        raise WindowClosed(
            seen,
            expected=f"{', '.join(window.days)} {window.between} {window.timezone}",
            do=f"{again} {opens:%Y-%m-%d %H:%M} UTC" if opens else "mend window in the release file",
        )


def next_opening(window: Window, after: datetime) -> datetime | None:
    """Return the next full minute, in UTC and within eight days, at which the window is open."""
    # Every minute is looked at, because a clock that is put forward or back moves where a window begins.
    minute = after.astimezone(UTC).replace(second=0, microsecond=0)
    for _ in range(8 * 24 * 60):
        minute += timedelta(minutes=1)
        if is_open(window, minute):
            return minute
    return None


def openings(window: Window, after: datetime) -> list[datetime]:
    """Return, for each hour of the clock within a week, the first full minute in UTC at which the window is open."""
    zone = ZoneInfo(window.timezone)
    minute = after.astimezone(UTC).replace(second=0, microsecond=0) + timedelta(minutes=1)
    ends, found = minute + timedelta(days=7), []
    while minute < ends:
        opened = is_open(window, minute)
        if opened:
            found.append(minute)
        minute += timedelta(minutes=60 - minute.astimezone(zone).minute if opened else 1)
    return found


def _bounds(window: Window) -> tuple[timedelta, timedelta]:
    start, end = (
        timedelta(hours=int(part[:2]), minutes=int(part[3:])) for part in window.between.split("-", maxsplit=1)
    )
    return start, end
