"""Slack's Block Kit as plain dictionaries within Slack's limits, with everything from outside made harmless."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

Block = dict[str, Any]

SECTION, FIELD, FIELDS, HEADER, CONTEXT, BLOCKS = 3000, 2000, 10, 150, 10, 50
"""Slack's limits: characters of a section, of a field, fields, characters of a header, parts of a context, blocks."""
BUTTON, CONFIRM = 75, 300
"""Slack's limits: characters of a button's text, and of a question before it counts."""
TEXT, ALL_BLOCKS = 1000, 9000
"""Characters of a message's line and of its blocks as JSON. Together 10,000: Slack refuses from about 13,200."""
CUT = "… (shortened)"

_LONGEST_URL = 500
_NOTE_OF_CUT = 250  # room for the line that says what was left out
_TERMINAL_CODES = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")
# Control signs, direction overrides and lone surrogates: PostgreSQL, a terminal or a reader would stumble over them.
_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def plain(text: str) -> str:
    """Return the text without control signs, fit for the ledger and a terminal."""
    return _UNSEEN.sub("\ufffd", _TERMINAL_CODES.sub("", text.replace("\r\n", "\n")))


def escape(text: str) -> str:
    """Return text from outside as Slack markup that shows it as it is and cannot ping anyone."""
    return plain(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def clip(text: str, limit: int) -> str:
    """Return the text, or its beginning with a sign that it goes on; an escaped sign is never cut in two."""
    if len(text) <= limit:
        return text
    kept = text[: limit - len(CUT)]
    sign = kept.rfind("&", max(0, len(kept) - 5))
    if sign >= 0 and ";" not in kept[sign:]:
        kept = kept[:sign]
    return kept + CUT


def shorten(text: str, limit: int) -> str:
    """Return the text, or its beginning and its end: a program says last what went wrong.

    An escaped sign is never cut in two. Markup is clipped instead, for its end may close what is cut out.
    """
    room = (limit - len(CUT)) // 2
    if len(text) <= limit or room < len(CUT):
        return clip(text, limit)
    end = text[-room:]
    sign = re.match(r"[a-z]{0,4};", end)
    return f"{clip(text, limit - room - 1)} {end[sign.end() :] if sign else end}"


def one_line(text: str, limit: int = TEXT) -> str:
    """Return the text on one line of at most ``limit`` characters, with its beginning and its end."""
    return shorten(" ".join(plain(text).split()), limit)


def moment(at: datetime) -> str:
    """Return markup that shows a moment in each reader's own time zone."""
    return f"<!date^{int(at.timestamp())}^{{date_short_pretty}} {{time_secs}}|{utc(at)}>"


def utc(at: datetime) -> str:
    """Return a moment as text, in UTC."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def link(url: str, label: str) -> str:
    """Return markup for a link, or the escaped text where the URL is not one to be followed."""
    if re.fullmatch(r"https?://[^\s<>|\"]+", url) and len(url) <= _LONGEST_URL:
        return f"<{url.replace('&', '&amp;')}|{escape(label)}>"
    return f"{escape(label)}: {clip(escape(url), _LONGEST_URL)}"


def header(text: str) -> Block:
    """Return a header of one line; ``text`` need not be escaped."""
    return {"type": "header", "text": {"type": "plain_text", "text": clip(escape(one_line(text)) or "–", HEADER)}}


def section(markup: str) -> Block:
    """Return a section."""
    return {"type": "section", "text": _mrkdwn(markup, SECTION)}


def fields(pairs: Iterable[tuple[str, str]]) -> list[Block]:
    """Return sections with names and values side by side; names are text, values markup."""
    all_of_them = [
        _mrkdwn(f"*{clip(escape(name), 200)}*\n{value if value.strip() else '–'}", FIELD) for name, value in pairs
    ]
    return [{"type": "section", "fields": all_of_them[at : at + FIELDS]} for at in range(0, len(all_of_them), FIELDS)]


def context(*markups: str) -> Block:
    """Return a line in small print of at most 10 parts."""
    return {"type": "context", "elements": [_mrkdwn(markup, FIELD) for markup in markups[:CONTEXT]]}


def button(label: str, act: str, value: str, *, style: str = "", confirm: str = "") -> Block:
    """Return a button; ``confirm`` is a question that must be answered before it counts."""
    made: Block = {"type": "button", "text": _words(label, BUTTON), "action_id": act, "value": value}
    if style:
        made["style"] = style
    if confirm:
        made["confirm"] = {
            "title": _words("Are you sure?", 100),
            "text": _words(confirm, CONFIRM),
            "confirm": _words(label, 30),
            "deny": _words("Not now", 30),
        }
    return made


def actions(buttons: Sequence[Block]) -> Block:
    """Return a row of buttons."""
    return {"type": "actions", "elements": list(buttons)}


def ask_for_text(title: str, label: str, act: str, value: str, submit: str) -> Block:
    """Return a dialog (a modal view) that asks for a sentence; ``value`` comes back with it."""
    return {
        "type": "modal",
        "callback_id": act,
        "private_metadata": value,
        "title": _words(title, 24),
        "submit": _words(submit, 24),
        "close": _words("Cancel", 24),
        "blocks": [
            {
                "type": "input",
                "block_id": "reason",
                "label": _words(label, 150),
                "element": {
                    "type": "plain_text_input",
                    "action_id": "text",
                    "multiline": True,
                    "min_length": 3,
                    "max_length": 500,
                },
            }
        ],
    }


def _words(text: str, limit: int) -> Block:
    return {"type": "plain_text", "text": clip(one_line(text) or "–", limit)}


def fit(blocks: Sequence[Block]) -> list[Block]:
    """Return as many blocks from the first on as one message holds, and say how many are left out."""
    kept: list[Block] = []
    used = 0
    for at, block in enumerate(blocks):
        used += len(json.dumps(block, ensure_ascii=False))
        if used > ALL_BLOCKS - _NOTE_OF_CUT or (len(kept) == BLOCKS - 1 and at < len(blocks) - 1):
            return [*kept, context(f"… (shortened: {len(blocks) - at} parts are left out; the report has them)")]
        kept.append(block)
    return kept


def _mrkdwn(markup: str, limit: int) -> Block:
    # Not verbatim, Slack would turn a plain "@channel" or "#name" into a mention.
    return {"type": "mrkdwn", "text": clip(markup if markup.strip() else "–", limit), "verbatim": True}
