"""What a migration took on production beside what its rehearsal foretold, and what of that a person must hear of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tasks.domain.locks import blocks, holds_up
from tasks.domain.units import show_seconds

FACTOR = 2.0
"""So many times what was foretold is worth noting."""
LEAST = 0.1
"""Seconds below which nothing is: times as short as that differ for no reason."""

Run = Mapping[str, Any]
"""What a migrator did, as it is on record: ``took`` in seconds and ``locks`` with ``relation``, ``mode``, ``held``."""


def side_by_side(seen: Run, rehearsed: Sequence[Run], *, duration: float, lock: float) -> dict[str, Any]:
    """Return seconds and locks on production beside those foretold, what exceeds a limit, and what the prediction.

    Of several rehearsals, with and without a load, the longest foretells. ``duration`` and ``lock`` are the limits.
    """
    foretold = max((float(run["took"]) for run in rehearsed), default=None)
    held, expected = _held([seen]), _held(rehearsed)
    locks: list[dict[str, Any]] = [
        {
            "relation": relation,
            "mode": mode,
            "blocks": blocks(mode).value,
            "seen": held.get((relation, mode)),
            "foretold": expected.get((relation, mode)),
        }
        for relation, mode in sorted(held.keys() | expected.keys())
    ]
    over = [
        f"{one['relation']} was locked in {one['mode']} for {show_seconds(one['seen'])} > {show_seconds(lock)}"
        for one in locks
        if one["seen"] is not None and one["seen"] > lock and holds_up(one["mode"])
    ]
    if seen["took"] > duration:
        over.append(f"the migration took {show_seconds(seen['took'])} > {show_seconds(duration)}")
    rows = [("the migration", "took", seen["took"], foretold)]
    rows += [(f"{one['mode']} on {one['relation']}", "was held", one["seen"], one["foretold"]) for one in locks]
    return {
        "seconds": seen["took"],
        "foretold_seconds": foretold,
        "locks_side_by_side": locks,
        "over_limit": over,
        "beyond_prediction": [_beyond(*row) for row in rows if _is_beyond(row[2], row[3])],
        "tries": seen["tries"],
    }


def _held(runs: Sequence[Run]) -> dict[tuple[str, str], float]:
    most: dict[tuple[str, str], float] = {}
    for run in runs:
        for one in run["locks"]:
            key = (one["relation"], one["mode"])
            most[key] = max(float(one["held"]), most.get(key, 0.0))
    return most


def _is_beyond(seen: float | None, foretold: float | None) -> bool:
    return seen is not None and seen > LEAST and seen > FACTOR * (foretold or 0.0)


def _beyond(what: str, verb: str, seen: float, foretold: float | None) -> str:
    if not foretold:
        return f"{what} {verb} {show_seconds(seen)}, which was not foretold"
    return f"{what} {verb} {show_seconds(seen)}, {seen / foretold:.1f} times the {show_seconds(foretold)} foretold"
