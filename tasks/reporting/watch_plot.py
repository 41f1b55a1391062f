"""Draws the watch: the probes' latency and errors over time, against baseline and limits, with gaps and events."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

from tasks.domain.outcome import Outcome
from tasks.domain.triggers import GAP
from tasks.reporting import error_plot
from tasks.reporting.canvas import WIDTH, Canvas, Drawing, Paint
from tasks.reporting.scales import decades, linear, logarithmic, nice
from tasks.reporting.thinning import Column, columns, merged, spread
from tasks.reporting.values import Event, Limits, ProbePoint, ReleaseFacts
from tasks.reporting.words import duration

_DAY = 86400
_HEIGHT, _APART = 162.0, 30.0
_FAR, _LINE = 4, 14
MOST_POINTS = 400
"""Above so many answers the line is their median in each column, with a band from least to greatest."""
_STEPS = (1, 2, 5, 10, 30, 60, 300, 900, 1800, 3600, 7200, 10800, 21600, 43200, _DAY, 7 * _DAY, 30 * _DAY)


def watch(facts: ReleaseFacts) -> str:
    """Draw the probes' latency and errors over time against their limits, with failures, gaps and events marked."""
    drawn = watch_drawing(facts)
    return drawn.svg() if drawn else ""


def watch_drawing(facts: ReleaseFacts) -> Drawing | None:
    """Return that drawing, or None if there was no probe."""
    points = facts.probing.points
    if not points:
        return None
    begin = min([points[0].at, *(event.at for event in facts.events)])
    end = max([points[-1].at, *(event.at for event in facts.events), *(gap[1] for gap in facts.probing.gaps)])
    end = max(end, begin + timedelta(seconds=1))
    left, right = 70.0, WIDTH - 96.0
    at = linear(begin.timestamp(), end.timestamp(), left, right)

    def x_of(moment: datetime) -> float:
        return at(moment.timestamp())

    rows = spread([x_of(event.at) for event in facts.events], 110)
    top = 44.0 + 15 * (max(rows, default=0) + 1)
    floor = top + _HEIGHT
    bottom = floor + _APART + error_plot.HEIGHT
    canvas = Canvas(WIDTH, bottom + 42)
    _gaps(canvas, [(x_of(a), x_of(b)) for a, b in facts.probing.gaps], top, bottom)
    _time_axis(canvas, begin, end, at, bottom)
    reach = max(8.0, (facts.probing.interval or 0.0) * GAP / (end - begin).total_seconds() * (right - left))
    _latencies(canvas, points, x_of, reach, facts.limits, (left, right, top, floor))
    error_plot.draw(canvas, facts.probing, facts.limits, x_of, reach, (left, right, floor + _APART))
    failures = [(x_of(p.at) - 0.75, x_of(p.at) + 0.75) for p in points if p.outcome is Outcome.FAILED]
    canvas.text(left - 10, top - 10, "failed ✕", Paint.MUTED, align="right")
    canvas.line([(left, top - 5), (right, top - 5)], Paint.LINE, 0.7)
    canvas.boxes([(a, top - 20, b - a, 13) for a, b in merged(failures, 1.0)], Paint.BAD)
    _events(canvas, facts.events, rows, x_of, (left, right, top, bottom))
    said = f"{facts.probing.failed} of {facts.probing.counted} probes failed, {len(facts.probing.gaps)} gaps"
    return Drawing(canvas, "watch", f"Latency and errors of the probes over time: {said}{_told(facts.limits)}.")


def _told(limits: Limits) -> str:
    before = f", median {duration(limits.before)} before the release" if limits.before is not None else ""
    slower = f", limit {duration(limits.slower)}" if limits.slower is not None else ""
    return before + slower + (f", at most {limits.errors:.0%} errors" if limits.errors is not None else "")


def _events(
    canvas: Canvas,
    events: Sequence[Event],
    rows: Sequence[int],
    x_of: Callable[[datetime], float],
    frame: tuple[float, float, float, float],
) -> None:
    left, right, top, bottom = frame
    for event, row in zip(events, rows, strict=True):
        x = x_of(event.at)
        align = "left" if x < left + 60 else "right" if x > right - 60 else "center"
        canvas.text(x, 12 + 15 * row, f"{event.label} {event.at.astimezone(UTC):%H:%M}", align=align)
    for x, _ in merged([(x_of(event.at), x_of(event.at)) for event in events], 1.0):
        canvas.line([(x, top - 26), (x, bottom)], Paint.INK, 1, dashed=True)


def _gaps(canvas: Canvas, spans: Sequence[tuple[float, float]], top: float, floor: float) -> None:
    gaps = merged(spans, 1.0)
    shades = [(a, top - 22, max(1.0, b - a), floor - top + 22) for a, b in gaps]
    canvas.boxes(shades, None, edge=Paint.MUTED, hatched=True)
    for a, b in gaps:
        if b - a > 80:
            canvas.boxes([((a + b) / 2 - 34, top + 60, 68, 18)], Paint.PAPER)
            canvas.text((a + b) / 2, top + 73, "no probe", Paint.MUTED, align="center")


def _latencies(
    canvas: Canvas,
    points: Sequence[ProbePoint],
    x_of: Callable[[datetime], float],
    reach: float,
    limits: Limits,
    frame: tuple[float, float, float, float],
) -> None:
    """Draw what successful answers took; a failed probe has no latency, and no line bridges more than ``reach``."""
    left, right, top, floor = frame
    known = [(x_of(p.at), p.elapsed) for p in points if p.outcome is Outcome.PASSED and p.elapsed and p.elapsed > 0]
    if not known:
        canvas.text((left + right) / 2, (top + floor) / 2, "no answer has a latency", Paint.MUTED, align="center")
        return
    values = [value for _, value in known]
    y_of = _latency_axis(canvas, values, limits, frame)
    parts: list[list[Column]] = []
    for column in columns(known, 1.0 if len(known) <= MOST_POINTS else 2.5):
        if not parts or column.x - parts[-1][-1].x > reach:
            parts.append([])
        parts[-1].append(column)
    line: list[tuple[float, float]] = []
    bands = []
    for part in parts:
        bands.append([(c.x, y_of(c.high)) for c in part] + [(c.x, y_of(c.low)) for c in reversed(part)])
        ends = [(part[0].x - 1, y_of(part[0].middle))] if len(part) == 1 else []
        line += [*ends, *((c.x, y_of(c.middle)) for c in part), (math.nan, math.nan)]
    canvas.area([band for band in bands if len(band) > 2], Paint.SOFT)
    canvas.line(line, Paint.ACCENT, 1.3)
    lines = [(limits.before, "before", Paint.MUTED), (limits.slower, "limit", Paint.BAD)]
    shown = [
        (y, f"{words} {duration(limit)}", paint) for limit, words, paint in lines if limit and (y := y_of(limit)) >= top
    ]
    for number, (y, words, paint) in enumerate(shown):
        canvas.line([(left, y), (right, y)], paint, 1, dashed=True)
        near = number and shown[0][0] - y < _LINE
        canvas.text(right + 8, y + 4 - (_LINE - (shown[0][0] - y) if near else 0), words, paint)


def _latency_axis(
    canvas: Canvas, values: Sequence[float], limits: Limits, frame: tuple[float, float, float, float]
) -> Callable[[float], float]:
    left, right, top, floor = frame
    # A limit far above all that was seen would press that flat; it is told beside the plot then.
    near = [limit for limit in (limits.before, limits.slower) if limit is not None and limit <= _FAR * max(values)]
    high = max([*values, *near])
    if high > 20 * statistics.median(values):
        low = min([*values, *near]) / 1.2
        y_of, ticks = logarithmic(low, high * 1.1, floor, top), decades(low, high * 1.1)
    else:
        y_of, ticks = linear(0.0, high * 1.1, floor, top), nice(high, 4)
    for tick in ticks:
        y = y_of(tick)
        canvas.line([(left, y), (right, y)], Paint.LINE, 0.7)
        canvas.text(left - 10, y + 4, duration(tick) if tick else "0", Paint.MUTED, align="right")
    return y_of


def _time_axis(canvas: Canvas, begin: datetime, end: datetime, at: Callable[[float], float], floor: float) -> None:
    canvas.line([(at(begin.timestamp()), floor), (at(end.timestamp()), floor)], Paint.MUTED)
    span = (end - begin).total_seconds()
    step = next((s for s in _STEPS if span / s <= 8), _STEPS[-1])
    tick, day = math.ceil(begin.timestamp() / step) * step, ""
    while tick <= end.timestamp():
        moment = datetime.fromtimestamp(tick, UTC)
        x = at(tick)
        canvas.line([(x, floor), (x, floor + 4)], Paint.MUTED)
        clock = f"{moment:%H:%M:%S}" if step < 60 else f"{moment:%H:%M}"
        canvas.text(x, floor + 18, clock, Paint.MUTED, align="center")
        if f"{moment:%Y-%m-%d}" != day:
            day = f"{moment:%Y-%m-%d}"
            canvas.text(x, floor + 34, day, Paint.MUTED, align="center")
        tick += step
