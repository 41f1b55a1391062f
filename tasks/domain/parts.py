"""What a message shows besides its line: text, figures and buttons, as JSON without the markup of any chat.

Texts stand in it as they are: who shows them makes them harmless there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Literal, TypedDict

from tasks.domain.plain_text import clip, plain

LONGEST = 3000
"""Characters of one text: more than any chat shows of it."""


class Styled(TypedDict):
    """Text that stands out."""

    type: Literal["bold", "code"]
    text: str


class Moment(TypedDict):
    """A moment, in ISO form; where a chat can do that, each reader sees it in their own time zone."""

    type: Literal["moment"]
    at: str


class Link(TypedDict):
    """A link, if its URL is one to be followed."""

    type: Literal["link"]
    url: str
    label: str


Run = str | Styled | Moment | Link
"""A piece of a text."""


class Heading(TypedDict):
    """One line above all else."""

    type: Literal["heading"]
    text: str


class Text(TypedDict):
    """A text of its own."""

    type: Literal["text"]
    runs: list[Run]


class Pair(TypedDict):
    """A name and what it stands for."""

    name: str
    value: list[Run]


class Pairs(TypedDict):
    """Names with their values, side by side."""

    type: Literal["pairs"]
    pairs: list[Pair]


class SmallPrint(TypedDict):
    """Remarks in small print."""

    type: Literal["small_print"]
    remarks: list[list[Run]]


class Button(TypedDict):
    """A button; ``act`` and ``value`` come back when it is pressed, ``question`` must be answered before it counts."""

    label: str
    act: str
    value: str
    style: Literal["", "primary", "danger"]
    question: str


class Buttons(TypedDict):
    """A row of buttons."""

    type: Literal["buttons"]
    buttons: list[Button]


Part = Heading | Text | Pairs | SmallPrint | Buttons
"""One part of a message; they stand beneath each other."""


def heading(text: str) -> Heading:
    """Return a heading."""
    return {"type": "heading", "text": _fit(text)}


def text(*runs: Run) -> Text:
    """Return a text of one or more pieces."""
    return {"type": "text", "runs": _runs(runs)}


def pairs(those: Iterable[tuple[str, str | Sequence[Run]]]) -> list[Pairs]:
    """Return names with their values, or nothing where there are none."""
    made: list[Pair] = [
        {"name": _fit(name), "value": _runs([value] if isinstance(value, str) else value)} for name, value in those
    ]
    return [{"type": "pairs", "pairs": made}] if made else []


def small_print(*remarks: Run) -> SmallPrint:
    """Return remarks in small print."""
    return {"type": "small_print", "remarks": [_runs([one]) for one in remarks]}


def buttons(row: Sequence[Button]) -> Buttons:
    """Return a row of buttons."""
    return {"type": "buttons", "buttons": list(row)}


def button(
    label: str, act: str, value: str, *, style: Literal["", "primary", "danger"] = "", question: str = ""
) -> Button:
    """Return a button."""
    return {"label": label, "act": str(act), "value": value, "style": style, "question": _fit(question)}


def bold(text: str) -> Styled:
    """Return text that stands out."""
    return {"type": "bold", "text": _fit(text)}


def code(text: str) -> Styled:
    """Return text to be taken letter by letter."""
    return {"type": "code", "text": _fit(text)}


def moment(at: datetime) -> Moment:
    """Return a moment."""
    return {"type": "moment", "at": at.isoformat()}


def link(url: str, label: str) -> Link:
    """Return a link."""
    return {"type": "link", "url": _fit(url), "label": _fit(label)}


def has_buttons(part: Mapping[str, object]) -> bool:
    """Tell whether a part of a message is a row of buttons, also of one that an earlier golive left in the outbox."""
    return part.get("type") in {"buttons", "actions"}


def _runs(runs: Iterable[Run]) -> list[Run]:
    return [_fit(run) if isinstance(run, str) else run for run in runs]


def _fit(text: str) -> str:
    return clip(plain(text), LONGEST)
