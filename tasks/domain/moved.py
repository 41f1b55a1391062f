"""What moved most against how it was before: endpoints, statements, tables, locks; only what was measured is named."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from tasks.domain.counters import Window, between, from_the_beginning
from tasks.domain.statements import Statement, mostly_gone, spent
from tasks.domain.statistics import percentile, slower_p
from tasks.domain.triggers import ENOUGH_BURST, SURE
from tasks.domain.units import show_bytes, show_seconds

EACH, AT_MOST = 2, 5
"""So many of each kind are named, and so many in all."""
ENOUGH_CALLS = 20
"""How often a statement must have been called before and since, for its means to be held against each other."""
_ENOUGH_BEFORE = 30


class Of(StrEnum):
    """What has moved."""

    ENDPOINT = "check"
    QUERY = "query"
    TABLE = "table"
    LOCK = "lock"
    MIGRATION = "migration"


@dataclass(frozen=True)
class Moved:
    """One thing that moved: by which factor, infinite where it was not there before, and what was seen."""

    of: Of
    name: str
    factor: float
    seen: str

    def __str__(self) -> str:
        return f"{self.of} {self.name}: {self.seen}"


def most(found: Iterable[Moved]) -> tuple[Moved, ...]:
    """Return what moved most, the farthest first, and no kind so often that it hides the others."""
    named: dict[Of, int] = {}
    kept = []
    for one in sorted(found, key=lambda one: (-one.factor, one.of, one.name)):
        named[one.of] = named.get(one.of, 0) + 1
        if named[one.of] <= EACH:
            kept.append(one)
    return tuple(kept[:AT_MOST])


def endpoint(name: str, before: Sequence[float], now: Sequence[float]) -> list[Moved]:
    """Return that a check's answers take longer, if they surely take at least a fifth and 2 ms longer than before."""
    if len(before) < _ENOUGH_BEFORE or len(now) < ENOUGH_BURST:
        return []
    was, has = percentile(before, 0.5), percentile(now, 0.5)
    if was <= 0 or has - was < 0.002 or slower_p(now, before, 1.2) >= SURE:
        return []
    seen = f"{_times(has / was)} slower (median {show_seconds(was)} → {show_seconds(has)})"
    return [Moved(Of.ENDPOINT, f"“{name}”", has / was, seen)]


def lock(name: str, rehearsed: float | None, held: float | None) -> list[Moved]:
    """Return that a lock was held at least twice, and 0.2 s longer, than rehearsed."""
    if not rehearsed or held is None or held < 2 * rehearsed or held - rehearsed < 0.2:
        return []
    seen = f"held {_times(held / rehearsed)} as long as rehearsed ({show_seconds(rehearsed)} → {show_seconds(held)})"
    return [Moved(Of.LOCK, name, held / rehearsed, seen)]


def migration(rehearsed: float | None, took: float | None) -> list[Moved]:
    """Return that the migration took at least twice, and a second longer, than rehearsed."""
    if not rehearsed or took is None or took < 2 * rehearsed or took - rehearsed < 1.0:
        return []
    seen = f"{_times(took / rehearsed)} as long as rehearsed ({show_seconds(rehearsed)} → {show_seconds(took)})"
    return [Moved(Of.MIGRATION, "on production", took / rehearsed, seen)]


def queries(before: Mapping[str, Any], last: Mapping[str, Any], now: Mapping[str, Any]) -> list[Moved] | str:
    """Return the statements that take longer, or are new and take much; or why that cannot be known.

    ``before`` is what was counted up to the release, ``last`` and ``now`` are two looks, between which it is judged.
    """
    windows = _windows(before, last, now)
    if isinstance(windows, str):
        return windows
    window, whole = windows
    had, has = window.before["statements"], window.now["statements"]
    if now["server"].get("statements") is None and mostly_gone(had, has):
        return "most statements have vanished from pg_stat_statements: it was reset"
    did = {key: spent(Statement(key, window.now["queries"][key], *one), had.get(key)) for key, one in has.items()}
    all_of_it = sum(one.total for one in did.values())
    found = []
    for key, one in did.items():
        name = f"{_id(key)} «{one.query}»"
        calls, total = whole.before["statements"].get(key, (0, 0.0))[:2]
        if one.calls < ENOUGH_CALLS or not all_of_it:
            continue
        if calls >= ENOUGH_CALLS and total > 0:
            was = total / calls
            costs = (one.mean - was) * one.calls
            if one.mean >= 1.5 * was and one.mean - was >= 1.0 and costs >= 0.01 * all_of_it:
                seen = f"{_times(one.mean / was)} slower (mean {was:.2f} ms → {one.mean:.2f} ms in {one.calls} calls)"
                found.append(Moved(Of.QUERY, name, one.mean / was, seen))
        elif not calls and _knew_all(whole) and one.mean >= 1.0 and one.total >= 0.2 * all_of_it:
            seen = f"new, with {one.total / all_of_it:.0%} of the time (mean {one.mean:.2f} ms in {one.calls} calls)"
            found.append(Moved(Of.QUERY, name, math.inf, seen))
    return found


def _windows(before: Mapping[str, Any], last: Mapping[str, Any], now: Mapping[str, Any]) -> tuple[Window, Window] | str:
    """Return what was counted since the last look and since before the release; or why that cannot be known."""
    window = between(last, now, "since the last look")
    whole = between(before, now, "since before the release")
    if isinstance(window, str):
        return window
    return whole if isinstance(whole, str) else (window, whole)


def _knew_all(whole: Window) -> bool:
    """Tell whether a statement that was not counted before the release was not there: none was left or thrown out."""
    return not whole.before.get("left_out") and whole.now.get("evicted") == 0


def _id(key: str) -> str:
    parts = key.split("/")
    return parts[1] if len(parts) > 1 else key


def tables(before: Mapping[str, Any], last: Mapping[str, Any], now: Mapping[str, Any]) -> list[Moved] | str:
    """Return the tables that have grown, or are read in full far more often; or why that cannot be known."""
    windows = _windows(before, last, now)
    if isinstance(windows, str):
        return windows
    window, since = windows
    past = from_the_beginning(before)
    found = []
    for name, (size, read) in since.now.items():
        old = since.before.get(name)
        if old is None:
            continue
        if size >= 1.2 * old[0] and size - old[0] >= 10_000_000 and old[0]:
            seen = f"+{size / old[0] - 1:.0%} ({show_bytes(old[0])} → {show_bytes(size)})"
            found.append(Moved(Of.TABLE, name, size / old[0], seen))
        found += _reads(name, old[1], past.seconds, read - window.before.get(name, (0, read))[1], window.seconds)
    return found


def _reads(name: str, before: float, past: float | None, rows: float, seconds: float | None) -> list[Moved]:
    """Return that a table's rows are read by full scans at three times the pace of before, if that is known."""
    if not before or not past or not seconds or rows < 100_000:
        return []
    factor = (rows / seconds) / (before / past)
    if factor < 3:
        return []
    seen = f"{_times(factor)} as many rows read by full scans ({rows / seconds:,.0f} a second)"
    return [Moved(Of.TABLE, name, factor, seen)]


def _times(factor: float) -> str:
    return f"{factor:.1f}×" if factor < 100 else f"{factor:.0f}×"
