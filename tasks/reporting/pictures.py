"""The plots of a report as PNG files, for where no page can be shown."""

from __future__ import annotations

from collections.abc import Callable

from tasks.domain.ports import Attachment
from tasks.reporting.canvas import Drawing
from tasks.reporting.plots import comparison_drawing
from tasks.reporting.values import ReleaseFacts
from tasks.reporting.watch_plot import watch_drawing

_DRAWN: tuple[tuple[str, Callable[[ReleaseFacts], Drawing | None]], ...] = (
    ("latency and errors of the probes", watch_drawing),
    ("answer times before and now", comparison_drawing),
)


def pictures_of(facts: ReleaseFacts) -> list[Attachment]:
    """Return a file for each plot for which there is data; the names tell the release and the moment they show."""
    found = []
    for title, draw in _DRAWN:
        if (drawn := draw(facts)) is None:
            continue
        heading = f"{facts.system} {facts.version}, {facts.verdict.words.lower()}: {title}"
        name = f"{facts.id}-{facts.gathered:%Y%m%dT%H%M%S}-{drawn.name}.png"
        found.append(Attachment(name, title, drawn.title, drawn.canvas.png(heading)))
    return found
