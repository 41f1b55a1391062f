"""Draws the plots of a report, each as an SVG element; an empty string means that there is nothing to draw."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from datetime import UTC

from tasks.domain.outcome import Outcome
from tasks.domain.statistics import percentile
from tasks.reporting.canvas import WIDTH, Canvas, Drawing, Paint
from tasks.reporting.scales import linear, nice
from tasks.reporting.values import Lock, Period, ReleaseFacts
from tasks.reporting.words import SYMBOL, change, duration

MOST_LOCKS = 12
MOST_COMPARISONS = 8
_VISIBLE = 0.02
"""The share of the axis that the middle one of the phases must have, or the longest ones are drawn shortened."""
_CROSS = ((-3, -3), (3, 3), (math.nan, math.nan), (-3, 3), (3, -3), (math.nan, math.nan))
_BREAK = ((-6, 16), (-1, -2), (5, -2), (0, 16))
_PAINT = {Outcome.PASSED: Paint.ACCENT, Outcome.FAILED: Paint.BAD, Outcome.UNKNOWN: Paint.MUTED}


def shortened(periods: Sequence[Period]) -> dict[int, float]:
    """Return the seconds at which to draw each period that is so long that others could not be seen beside it."""
    lengths = {number: max(period.seconds, 0.001) for number, period in enumerate(periods)}
    shown, cut = dict(lengths), []
    while len(shown) > 2 and statistics.median(lengths.values()) < _VISIBLE * sum(shown.values()):
        longest = max(shown, key=lambda number: shown[number])
        cut.append(longest)
        del shown[longest]
    return {number: 0.3 * sum(shown.values()) for number in cut}


def timeline(facts: ReleaseFacts) -> str:
    """Draw the phases as bars on an axis of time, with their steps beneath."""
    if not facts.periods:
        return ""
    left, right, row = 140, 250, 38
    canvas = Canvas(WIDTH, row * len(facts.periods) + 46)
    cut = shortened(facts.periods)
    lengths = [cut.get(i, max(period.seconds, 0.001)) for i, period in enumerate(facts.periods)]
    scale = (WIDTH - left - right) / sum(lengths)
    starts = [left + scale * sum(lengths[:i]) for i in range(len(lengths) + 1)]
    _clock_times(canvas, facts, starts, row * len(facts.periods) + 6)
    for i, period in enumerate(facts.periods):
        top, x, wide = i * row + 6.0, starts[i], max(2.0, starts[i + 1] - starts[i])
        paint = _PAINT[period.outcome]
        canvas.text(0, top + 12, period.label)
        canvas.boxes([(x, top, wide, 14)], None if period.outcome is Outcome.UNKNOWN else paint, edge=paint)
        if i in cut:
            canvas.area([[(x + wide / 2 + dx, top + dy) for dx, dy in _BREAK]], Paint.PAPER)
        sign = SYMBOL[period.outcome] if period.ended else "…"
        canvas.text(WIDTH - right + 16, top + 12, f"{sign} {duration(period.seconds)}", bold=True)
        canvas.text(WIDTH - right + 120, top + 12, period.ending, Paint.MUTED)
    _step_marks(canvas, facts, starts, row)
    return canvas.svg("timeline", _timeline_alt(facts))


def _clock_times(canvas: Canvas, facts: ReleaseFacts, starts: Sequence[float], bottom: float) -> None:
    labelled, day = -math.inf, ""
    moments = [period.began for period in facts.periods] + [facts.periods[-1].ended or facts.gathered]
    for x, at in zip(starts, moments, strict=True):
        canvas.line([(x, 0), (x, bottom)], Paint.LINE, 0.7)
        if x - labelled < 74:
            continue
        labelled, last_day, day = x, day, f"{at.astimezone(UTC):%Y-%m-%d}"
        canvas.text(x, bottom + 18, f"{at.astimezone(UTC):%H:%M:%S}", Paint.MUTED, align="center")
        if day != last_day:
            canvas.text(x, bottom + 34, day, Paint.MUTED, align="center")


def _timeline_alt(facts: ReleaseFacts) -> str:
    told = ", ".join(f"{p.label} {duration(p.seconds)} ({p.outcome.value})" for p in facts.periods)
    return f"Phases on an axis of time: {told}."


def _step_marks(canvas: Canvas, facts: ReleaseFacts, starts: Sequence[float], row: int) -> None:
    marks: dict[str, list[tuple[float, float]]] = {"done": [], "failed": [], "started": []}
    for i, period in enumerate(facts.periods):
        until = period.ended or facts.gathered
        lasted = max((until - period.began).total_seconds(), 0.001)
        inside = [step for step in facts.steps if period.began <= step.began < until]
        # Marks that would lie on one another are set apart, as long as they are few enough for that to stay near.
        apart, last = (9.0 if len(inside) <= 8 else 0.0), -math.inf
        for step in inside:
            share = ((step.began - period.began).total_seconds() + (step.took or 0.0)) / lasted
            last = max(last + apart, starts[i] + min(1.0, share) * (starts[i + 1] - starts[i]))
            marks.get(step.event, marks["started"]).append((last, i * row + 27.0))
    canvas.boxes([(x - 2, y - 2, 4, 4) for x, y in marks["done"]], Paint.INK)
    canvas.boxes([(x - 3, y - 3, 6, 6) for x, y in marks["started"]], None, edge=Paint.WARN)
    canvas.line([(x + dx, y + dy) for x, y in marks["failed"] for dx, dy in _CROSS], Paint.BAD, 2)


def locks(facts: ReleaseFacts) -> str:
    """Draw how long each table was locked in each mode, with the limit."""
    pairs = list(dict.fromkeys((lock.relation, lock.mode) for lock in _longest_first(facts.locks)))[:MOST_LOCKS]
    if not pairs:
        return ""
    held = {(lock.relation, lock.mode, lock.where): lock.held for lock in facts.locks}
    most = max([*held.values(), facts.lock_limit or 0.0]) or 1.0
    right, top = WIDTH - 170, 26
    places = [where for where in ("rehearsal", "production") if any(lock.where == where for lock in facts.locks)]
    row = 24 + 16 * len(places)
    canvas = Canvas(WIDTH, top + row * len(pairs) + 4)
    canvas.line([(1, top - 6), (1, top + row * len(pairs))], Paint.LINE)
    for i, (relation, mode) in enumerate(pairs):
        y = top + i * row + 10
        canvas.text(8, y, f"{_short(relation)} · {mode}")
        for k, where in enumerate(places):
            length = held.get((relation, mode, where))
            y_bar = y + 6 + 16 * k
            if length is None:
                canvas.text(8, y_bar + 10, f"{where}: not seen", Paint.MUTED)
                continue
            wide = max(1.5, (right - 1) * length / most)
            over = facts.lock_limit is not None and length > facts.lock_limit
            paint = Paint.BAD if over else Paint.ACCENT
            if where == "rehearsal":
                canvas.boxes([(1, y_bar + 1, wide, 10)], Paint.SOFT, edge=paint)
            else:
                canvas.boxes([(1, y_bar + 1, wide, 10)], paint)
            note = ", over the limit" if over else ""
            canvas.text(1 + wide + 8, y_bar + 10, f"{duration(length)} {where}{note}", Paint.MUTED)
    if facts.lock_limit is not None:
        x = 1 + (right - 1) * facts.lock_limit / most
        canvas.line([(x, top - 8), (x, top + row * len(pairs))], Paint.BAD, 1.2, dashed=True)
        canvas.text(x, 12, f"limit {duration(facts.lock_limit)}", Paint.BAD, align="center")
    told = "; ".join(f"{lock.relation} {lock.mode} {duration(lock.held)} ({lock.where})" for lock in facts.locks[:24])
    return canvas.svg("locks", f"Locks held: {told}.")


def _longest_first(held: Sequence[Lock]) -> list[Lock]:
    return sorted(held, key=lambda lock: -lock.held)


def _short(text: str, most: int = 90) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def comparison(facts: ReleaseFacts) -> str:
    """Draw, for each check with a baseline, how long its answers took before and now."""
    drawn = comparison_drawing(facts)
    return drawn.svg() if drawn else ""


def comparison_drawing(facts: ReleaseFacts) -> Drawing | None:
    """Return that drawing, or None if there is nothing to compare."""
    shown = facts.comparisons[:MOST_COMPARISONS]
    if not shown:
        return None
    left, right, row = 70, 260, 92
    canvas = Canvas(WIDTH, row * len(shown))
    for i, one in enumerate(shown):
        top = i * row
        most = max(percentile(values, 0.99) for values in (one.before, one.now or one.before)) * 1.05 or 1.0
        canvas.text(1, top + 14, _short(one.check), bold=True)
        place = linear(0, most, left, WIDTH - right)
        for tick in nice(most):
            x = place(tick)
            canvas.line([(x, top + 22), (x, top + 66)], Paint.LINE, 0.7)
            canvas.text(x, top + 81, duration(tick) if tick else "0", Paint.MUTED, align="center")
        for k, (name, values) in enumerate((("before", one.before), ("now", one.now))):
            y = top + 34 + 20 * k
            canvas.text(left - 12, y + 4, name, Paint.MUTED, align="right")
            if not values:
                canvas.text(left + 8, y + 4, "no data", Paint.WARN)
                continue
            _range(canvas, [place(percentile(values, q)) for q in (0.05, 0.25, 0.5, 0.75, 0.95, 0.99)], y, now=k == 1)
            summary = one.has if k else one.was
            grown = f" ({change(one.was.p50, one.has.p50)})" if k else ""
            canvas.text(WIDTH - right + 20, y + 4, f"p50 {duration(summary.p50)}{grown}")
            canvas.text(WIDTH - 96, y + 4, f"p95 {duration(summary.p95)}")
    told = "; ".join(
        f"{c.check}: median {duration(c.was.p50)} before, {duration(c.has.p50)} now" for c in facts.comparisons
    )
    return Drawing(canvas, "comparison", f"Answer times before and now. {told}.")


def _range(canvas: Canvas, x: Sequence[float], y: float, *, now: bool) -> None:
    low, lower, middle, upper, high, top = x
    paint = Paint.ACCENT if now else Paint.MUTED
    canvas.line([(low, y), (top, y)], paint, 1.2)
    canvas.boxes([(lower, y - 5, max(1.0, upper - lower), 10)], Paint.SOFT if now else Paint.PAPER, edge=paint)
    canvas.line([(middle, y - 8), (middle, y + 8)], Paint.INK, 2)
    canvas.line([(high, y - 6), (high, y + 6)], paint, 2)
