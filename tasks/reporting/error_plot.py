"""Draws the share of failed probes over time, counted as the trigger counts it, against its limit."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from tasks.domain.outcome import Outcome
from tasks.domain.triggers import ENOUGH_PROBES
from tasks.reporting.canvas import Canvas, Paint
from tasks.reporting.thinning import Column, columns
from tasks.reporting.values import Limits, ProbePoint, Probing
from tasks.reporting.words import duration

HEIGHT = 58.0
_TOPS = (0.05, 0.1, 0.2, 0.3, 0.5, 0.8, 1.0)
FEWEST = 10
"""So many probes must have come to a result within the window before a share of them is drawn."""


def window_of(limits: Limits, probing: Probing) -> float:
    """Return over how many seconds errors are counted: as the trigger does, no fewer than 30 intervals."""
    return max(limits.window, ENOUGH_PROBES * (probing.interval or 0.0))


def shares(points: Sequence[ProbePoint], window: float) -> list[tuple[datetime, float]]:
    """Return at each probe the share of failures among those of the window before it, where there are enough."""
    inside: deque[ProbePoint] = deque()
    failed, found = 0, []
    for point in points:
        if point.outcome is Outcome.UNKNOWN:
            continue
        inside.append(point)
        failed += point.outcome is Outcome.FAILED
        while point.at - inside[0].at > timedelta(seconds=window):
            failed -= inside.popleft().outcome is Outcome.FAILED
        if len(inside) >= FEWEST:
            found.append((point.at, failed / len(inside)))
    return found


def draw(
    canvas: Canvas,
    probing: Probing,
    limits: Limits,
    x_of: Callable[[datetime], float],
    reach: float,
    frame: tuple[float, float, float],
) -> None:
    """Draw the share below ``top`` of the frame (left, right, top); no line bridges more than ``reach``."""
    left, right, top = frame
    window = window_of(limits, probing)
    found = [(x_of(at), share) for at, share in shares(probing.points, window)]
    canvas.text(left, top - 6, f"errors, of {duration(window)} each", Paint.MUTED)
    highest = max([1.5 * (limits.errors or 0.0), *(share for _, share in found)])
    most = next((one for one in _TOPS if one >= highest), 1.0)

    def y_of(share: float) -> float:
        return top + HEIGHT * (1 - share / most)

    for tick in (0.0, most):
        canvas.line([(left, y_of(tick)), (right, y_of(tick))], Paint.LINE, 0.7)
        canvas.text(left - 10, y_of(tick) + 4, f"{tick:.0%}", Paint.MUTED, align="right")
    if not found:
        canvas.text((left + right) / 2, top + HEIGHT / 2 + 4, "too few probes", Paint.MUTED, align="center")
    line: list[tuple[float, float]] = []
    last: Column | None = None
    for column in columns(found, 1.0):
        if last is not None and column.x - last.x > reach:
            line.append((math.nan, math.nan))
        line.append((column.x, y_of(column.high)))
        last = column
    canvas.line(line, Paint.BAD if any(share for _, share in found) else Paint.ACCENT, 1.3)
    if limits.errors is not None:
        y = y_of(limits.errors)
        canvas.line([(left, y), (right, y)], Paint.BAD, 1, dashed=True)
        canvas.text(right + 8, y + 4, f"limit {limits.errors:.0%}", Paint.BAD)
