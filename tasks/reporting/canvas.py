"""A canvas in pixels: as SVG its colours and fonts come from the page around it, as PNG it stands by itself."""

from __future__ import annotations

import io
import re
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDTH = 960
"""The width of a plot in pixels, at which its texts have the size of small print."""
_SETTINGS = threading.Lock()
"""Matplotlib's settings are global to the process, so one drawing at a time may change them."""
_ID = re.compile(r' id="(?!h[0-9a-f]{10}")[^"]*"')
_HATCH = re.compile(r'(id="|url\(#)(h[0-9a-f]{10})')
_PATH = re.compile(r' d="([^"]*)"')
_DECIMALS = re.compile(r"(-?\d+\.\d)\d+")

Box = tuple[float, float, float, float]
"""Left, top, width and height in pixels."""


class Paint(StrEnum):
    """Colours by what they are for; each stands for a CSS variable of the page."""

    INK = "#010200"
    MUTED = "#010201"
    LINE = "#010202"
    ACCENT = "#010203"
    SOFT = "#010204"
    GOOD = "#010205"
    BAD = "#010206"
    WARN = "#010207"
    PAPER = "#010208"

    @property
    def css(self) -> str:
        """The CSS variable that it stands for."""
        return f"var(--{self.name.lower()})"


ON_WHITE: Mapping[Paint, str] = {
    Paint.INK: "#1a1e23",
    Paint.MUTED: "#59636e",
    Paint.LINE: "#dfe3e8",
    Paint.ACCENT: "#0f5f80",
    Paint.SOFT: "#cfe2ea",
    Paint.GOOD: "#17673a",
    Paint.BAD: "#b42318",
    Paint.WARN: "#855300",
    Paint.PAPER: "#ffffff",
}
"""The colours where there is no page, as the report has them on paper; a test holds the two together."""
_MARGIN, _HEADING = 20, 40
_DPI = 144


class Canvas:
    """A drawing surface with its origin at the top left; what is drawn later lies above, texts are never formulas."""

    def __init__(self, width: float, height: float) -> None:
        from matplotlib.backends.backend_svg import FigureCanvasSVG
        from matplotlib.figure import Figure

        self.width, self.height = width, height
        self._figure = Figure(figsize=(width / 72, height / 72), dpi=72)
        FigureCanvasSVG(self._figure)
        self._axes = self._figure.add_axes((0, 0, 1, 1))
        self._axes.set_axis_off()
        self._axes.set_xlim(0, width)
        self._axes.set_ylim(height, 0)
        self._drawn = 0

    def _above(self) -> int:
        self._drawn += 1
        return self._drawn

    def text(
        self, x: float, y: float, text: str, paint: Paint = Paint.INK, *, align: str = "left", bold: bool = False
    ) -> None:
        """Write one line with its baseline at ``y``."""
        self._axes.text(
            x,
            y,
            " ".join(text.split()),
            color=paint.value,
            fontsize=12,
            ha=align,
            va="baseline",
            fontweight="bold" if bold else "normal",
            parse_math=False,
            zorder=self._above(),
        )

    def line(
        self, points: Sequence[tuple[float, float]], paint: Paint, width: float = 1.0, *, dashed: bool = False
    ) -> None:
        """Draw one line through the points, if there are any; NaN breaks it."""
        if not points:
            return
        from matplotlib.lines import Line2D

        self._axes.add_line(
            Line2D(
                [x for x, _ in points],
                [y for _, y in points],
                color=paint.value,
                linewidth=width,
                linestyle=(0, (3, 3)) if dashed else "solid",
                clip_on=False,
                snap=False,
                zorder=self._above(),
            )
        )

    def area(self, outlines: Iterable[Sequence[tuple[float, float]]], paint: Paint) -> None:
        """Fill the polygons, all as one path."""
        self._fill(outlines, paint, None, hatched=False)

    def boxes(
        self, boxes: Iterable[Box], paint: Paint | None, *, edge: Paint | None = None, hatched: bool = False
    ) -> None:
        """Draw rectangles, all as one path: filled, outlined by ``edge``, or hatched in it."""
        outlines = [[(x, y), (x + w, y), (x + w, y + h), (x, y + h)] for x, y, w, h in boxes]
        self._fill(outlines, paint, edge, hatched=hatched)

    def _fill(
        self,
        outlines: Iterable[Sequence[tuple[float, float]]],
        paint: Paint | None,
        edge: Paint | None,
        *,
        hatched: bool,
    ) -> None:
        from matplotlib.patches import PathPatch
        from matplotlib.path import Path

        paths = [Path([*outline, outline[0]], closed=True) for outline in outlines if outline]
        if not paths:
            return
        self._axes.add_patch(
            PathPatch(
                Path.make_compound_path(*paths),
                facecolor=paint.value if paint else "none",
                edgecolor=edge.value if edge else "none",
                linewidth=0 if hatched or edge is None else 1.2,
                hatch="///" if hatched else None,
                clip_on=False,
                snap=False,
                zorder=self._above(),
            )
        )

    def svg(self, name: str, title: str) -> str:
        """Return the drawing as an ``<svg>`` element; ``name`` keeps its ids apart from those of other drawings."""
        from matplotlib import rc_context

        out = io.StringIO()
        with _SETTINGS, rc_context({"svg.fonttype": "none", "svg.hashsalt": "golive", "hatch.linewidth": 0.7}):
            nothing = {"Date": None, "Creator": None, "Format": None, "Type": None}
            self._figure.savefig(out, format="svg", transparent=True, metadata=nothing)
        return _fit_for_page(out.getvalue(), name, title, self.width, self.height)

    def png(self, heading: str) -> bytes:
        """Return the drawing as a PNG file on white, beneath a line that says what it is; that ends the drawing."""
        from matplotlib.backends.backend_agg import FigureCanvasAgg

        self.text(0, -14, heading, bold=True)
        wide, high = self.width + 2 * _MARGIN, self.height + _HEADING + _MARGIN
        self._figure.set_size_inches(wide / 72, high / 72)
        self._axes.set_xlim(-_MARGIN, self.width + _MARGIN)
        self._axes.set_ylim(self.height + _MARGIN, -_HEADING)
        _repaint(self._axes)
        FigureCanvasAgg(self._figure)
        out = io.BytesIO()
        with _SETTINGS:
            self._figure.savefig(
                out, format="png", dpi=_DPI, facecolor=ON_WHITE[Paint.PAPER], metadata={"Software": None}
            )
        return out.getvalue()


@dataclass(frozen=True)
class Drawing:
    """A canvas with what is drawn on it: a short ``name``, and in ``title`` what a reader sees who cannot see."""

    canvas: Canvas
    name: str
    title: str

    def svg(self) -> str:
        """Return it as an ``<svg>`` element."""
        return self.canvas.svg(self.name, self.title)


def _repaint(axes: Axes) -> None:
    """Give everything that was drawn the colour that its paint has on white."""
    from matplotlib.colors import to_hex

    shown = {paint.value: colour for paint, colour in ON_WHITE.items()}
    texts_and_lines: Iterable[Any] = (*axes.texts, *axes.lines)
    for one in texts_and_lines:
        one.set_color(shown[str(one.get_color())])
    for patch in axes.patches:
        face, edge = (to_hex(one, keep_alpha=True) for one in (patch.get_facecolor(), patch.get_edgecolor()))
        patch.set_facecolor("none" if face.endswith("00") else shown[face[:7]])
        patch.set_edgecolor("none" if edge.endswith("00") else shown[edge[:7]])


def _fit_for_page(svg: str, name: str, title: str, width: float, height: float) -> str:
    from markupsafe import escape

    inside = svg[svg.index("<svg") :].split(">", 1)[1].rsplit("</svg>", 1)[0]
    inside = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", inside, flags=re.DOTALL)
    inside = re.sub(r"font-family: [^;]*; ", "", inside)
    inside = re.sub(r' transform="rotate\(-0 [^"]*"', "", inside)
    inside = _HATCH.sub(rf"\1{name}-\2", _ID.sub("", inside))
    inside = _PATH.sub(_rounded, inside)
    inside = re.sub(r"\s*\n\s*", "\n", inside)
    for paint in Paint:
        inside = inside.replace(f'"{paint.value}"', f'"{paint.css}"').replace(f" {paint.value}", f" {paint.css}")
    return (
        f'<svg class="plot" role="img" aria-label="{escape(title)}" viewBox="0 0 {width:g} {height:g}" '
        f'width="{width:g}" height="{height:g}">{inside}</svg>'
    )


def _rounded(path: re.Match[str]) -> str:
    points = _DECIMALS.sub(r"\1", " ".join(path[1].split()))
    return f' d="{points}"'
