"""Renders a report as one HTML file that needs nothing but itself."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from functools import cache
from importlib.resources import files
from pathlib import Path

from tasks.domain import filling
from tasks.reporting import cards, plots, rehearsal, sections, stages, watch_plot, words
from tasks.reporting.values import ReleaseFacts, masked


def write_html(facts: ReleaseFacts, path: Path, mask: Callable[[str], str]) -> None:
    """Write the report to ``path`` in one step, readable by its owner only; every text goes through ``mask`` first.

    Raises `OSError` if it cannot be written.
    """
    write_whole(path, render(masked(facts, cache(mask))).encode())


def write_whole(path: Path, data: bytes) -> None:
    """Write a file in one step, readable by its owner only; raises `OSError` if it cannot be written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as out:
            out.write(data)
        Path(name).replace(path)
    except OSError:
        Path(name).unlink(missing_ok=True)
        raise


def render(facts: ReleaseFacts) -> str:
    """Return the page; every text from outside is escaped."""
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    def text_of(name: str) -> str:
        return files("tasks.reporting").joinpath(name).read_text(encoding="utf-8")

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    drawings = {
        "timeline": plots.timeline(facts),
        "locks": plots.locks(facts),
        "comparison": plots.comparison(facts),
        "watch": watch_plot.watch(facts),
    }
    return environment.from_string(text_of("report.html.j2")).render(
        facts=facts,
        # Both are made here: the style sheet is a file of this package, the drawings escape the texts in them.
        css=Markup(text_of("report.css")),  # noqa: S704
        plots={name: Markup(svg) for name, svg in drawings.items()},  # noqa: S704
        cards=cards,
        filling=filling,
        rehearsal=rehearsal,
        sections=sections,
        stages=stages,
        words=words,
        shortened=bool(plots.shortened(facts.periods)),
        most_locks=plots.MOST_LOCKS,
        most_comparisons=plots.MOST_COMPARISONS,
    )
