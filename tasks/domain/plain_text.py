"""Text from anywhere, made fit for one line, the ledger and a terminal."""

from __future__ import annotations

import re
from datetime import UTC, datetime

LINE = 1000
"""Characters of a message's line."""
CUT = "… (shortened)"

_TERMINAL_CODES = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")
# Control signs, direction overrides and lone surrogates: PostgreSQL, a terminal or a reader would stumble over them.
_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def plain(text: str) -> str:
    """Return the text without control signs, fit for the ledger and a terminal."""
    return _UNSEEN.sub("\ufffd", _TERMINAL_CODES.sub("", text.replace("\r\n", "\n")))


def clip(text: str, limit: int) -> str:
    """Return the text, or its beginning with a sign that it goes on."""
    return text if len(text) <= limit else text[: limit - len(CUT)] + CUT


def shorten(text: str, limit: int) -> str:
    """Return the text, or its beginning and its end: a program says last what went wrong."""
    room = (limit - len(CUT)) // 2
    if len(text) <= limit or room < len(CUT):
        return clip(text, limit)
    return f"{clip(text, limit - room - 1)} {text[-room:]}"


def one_line(text: str, limit: int = LINE) -> str:
    """Return the text on one line of at most ``limit`` characters, with its beginning and its end."""
    return shorten(" ".join(plain(text).split()), limit)


def utc(at: datetime) -> str:
    """Return a moment as text, in UTC."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
