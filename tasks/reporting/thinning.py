"""Thins many points out to what a plot can show without hiding any: extremes per column are kept, marks are merged."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Column:
    """The points of one column of a plot: where it is, the least, the median and the greatest value in it."""

    x: float
    low: float
    middle: float
    high: float


def columns(points: Iterable[tuple[float, float]], width: float) -> list[Column]:
    """Return the points gathered in columns ``width`` wide, in order; an empty column has no place in the result."""
    held: dict[int, list[tuple[float, float]]] = {}
    for x, value in points:
        held.setdefault(int(x // width), []).append((x, value))
    found = []
    for _, inside in sorted(held.items()):
        values = [value for _, value in inside]
        middle = statistics.median(values)
        found.append(Column(statistics.fmean(x for x, _ in inside), min(values), middle, max(values)))
    return found


def merged(spans: Iterable[tuple[float, float]], apart: float) -> list[tuple[float, float]]:
    """Return the spans in order, joined where less than ``apart`` lies between them, so that each stays visible."""
    joined: list[tuple[float, float]] = []
    for begin, end in sorted(spans):
        if joined and begin - joined[-1][1] < apart:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((begin, end))
    return joined


def spread(wanted: Sequence[float], apart: float) -> list[int]:
    """Return for each label, in order of its place, the lowest row in which it does not touch another."""
    rows: list[float] = []
    chosen = []
    for x in wanted:
        row = next((i for i, last in enumerate(rows) if x - last >= apart), len(rows))
        rows[row : row + 1] = [x]
        chosen.append(row)
    return chosen
