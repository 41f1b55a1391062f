"""Slack's Block Kit: the parts of a message as slack-sdk's models, within the limits that these leave open too.

Everything from outside is escaped here, and nowhere else.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from slack_sdk.models.blocks import (
    ActionsBlock,
    Block,
    ButtonElement,
    ConfirmObject,
    ContextBlock,
    HeaderBlock,
    InputBlock,
    MarkdownTextObject,
    PlainTextInputElement,
    PlainTextObject,
    SectionBlock,
)
from slack_sdk.models.views import View

from tasks.domain.parts import Button, Buttons, Heading, Pair, Pairs, Run, SmallPrint, Text
from tasks.domain.plain_text import CUT, LINE, one_line, plain, utc
from tasks.domain.ports import Dialog

FIELD, BLOCKS, ALL_BLOCKS = 2000, 50, 9000
"""What no model limits: characters of a field or a remark, blocks of a message, characters of all its blocks as JSON.

With the message's line that is 10,000: Slack says nothing of it, and refuses from about 13,200.
"""

_EARLIER = frozenset({HeaderBlock.type, SectionBlock.type, ContextBlock.type, ActionsBlock.type})
"""The blocks that an earlier golive wrote into the outbox."""
_NAME = 200
_LONGEST_URL = 500
_NOTE_OF_CUT = 250  # room for the line that says what was left out


def line(text: str) -> str:
    """Return a message's line as markup that shows it as it is and cannot ping anyone."""
    return _begun(escape(text), LINE) or "–"


def blocks_of(parts: Sequence[Mapping[str, object]]) -> list[Block]:
    """Return as many blocks from the first part on as one message holds, and say how many are left out.

    Buttons are never among these: without them nobody could answer. What an earlier golive left in the outbox is Block
    Kit already, and taken as it is. Raises `ValueError`, `KeyError`, `TypeError` or slack-sdk's
    ``SlackObjectFormationError`` for what is neither.
    """
    made = [block for part in parts for block in _made(part)]
    sizes = [len(json.dumps(block.to_dict(), ensure_ascii=False)) for block in made]
    if len(made) <= BLOCKS and sum(sizes) <= ALL_BLOCKS - _NOTE_OF_CUT:
        return made
    rows = [(block, size) for block, size in zip(made, sizes, strict=True) if isinstance(block, ActionsBlock)]
    others = [(block, size) for block, size in zip(made, sizes, strict=True) if not isinstance(block, ActionsBlock)]
    room = ALL_BLOCKS - _NOTE_OF_CUT - sum(size for _, size in rows)
    kept: list[Block] = []
    for block, size in others[: BLOCKS - 1 - len(rows)]:
        room -= size
        if room < 0:
            break
        kept.append(block)
    said = f"… (shortened: {len(others) - len(kept)} parts are left out; the report has them)"
    return [*kept, ContextBlock(elements=[_mrkdwn([said], FIELD)]), *(block for block, _ in rows)]


def view_of(dialog: Dialog) -> View:
    """Return a dialog (a modal view) that asks for a sentence; its value comes back with that."""
    element = PlainTextInputElement(action_id="text", multiline=True, min_length=3, max_length=500)
    return View(
        type="modal",
        callback_id=dialog.act,
        private_metadata=dialog.value,
        title=_words(dialog.title, View.title_max_length),
        submit=_words(dialog.submit, View.submit_max_length),
        close=_words("Cancel", View.close_max_length),
        blocks=[InputBlock(block_id="reason", label=_words(dialog.label, 150), element=element)],
    )


def escape(text: str) -> str:
    """Return text from outside as Slack markup that shows it as it is and cannot ping anyone."""
    return plain(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _made(part: Mapping[str, object]) -> list[Block]:
    if (make := _MAKERS.get(str(part.get("type")))) is not None:
        return make(part)
    if part.get("type") not in _EARLIER:
        raise ValueError(f"no part of a message and no block: {part.get('type')!r}")
    return Block.parse_all([dict(part)])


def _heading(part: Heading) -> list[Block]:
    return [HeaderBlock(text=_words(part["text"], HeaderBlock.text_max_length))]


def _text(part: Text) -> list[Block]:
    return [SectionBlock(text=_mrkdwn(part["runs"], SectionBlock.text_max_length))]


def _pairs(part: Pairs) -> list[Block]:
    fields, most = [_field(one) for one in part["pairs"]], SectionBlock.fields_max_length
    return [SectionBlock(fields=fields[at : at + most]) for at in range(0, len(fields), most)]


def _small_print(part: SmallPrint) -> list[Block]:
    remarks = part["remarks"][: ContextBlock.elements_max_length]
    return [ContextBlock(elements=[_mrkdwn(one, FIELD) for one in remarks])]


def _buttons(part: Buttons) -> list[Block]:
    return [ActionsBlock(elements=[_button(one) for one in part["buttons"][: ActionsBlock.elements_max_length]])]


_MAKERS: Mapping[str, Callable[[Any], list[Block]]] = {
    "heading": _heading,
    "text": _text,
    "pairs": _pairs,
    "small_print": _small_print,
    "buttons": _buttons,
}
"""What makes blocks of each part of a message, by its type."""


def _field(pair: Pair) -> MarkdownTextObject:
    name = one_line(pair["name"], _NAME) or "–"
    value = pair["value"] if "".join(map(_piece, pair["value"])).strip() else ["–"]
    return _mrkdwn([{"type": "bold", "text": name}, "\n", *value], FIELD)


def _button(one: Button) -> ButtonElement:
    confirm = None
    if one["question"]:
        confirm = ConfirmObject(
            title=_words("Are you sure?", ConfirmObject.title_max_length),
            text=_words(one["question"], ConfirmObject.text_max_length),
            confirm=_words(one["label"], ConfirmObject.confirm_max_length),
            deny=_words("Not now", ConfirmObject.deny_max_length),
        )
    return ButtonElement(
        text=_words(one["label"], ButtonElement.text_max_length),
        action_id=one["act"],
        value=one["value"],
        style=one["style"] or None,
        confirm=confirm,
    )


def _words(text: str, limit: int) -> PlainTextObject:
    return PlainTextObject(text=_begun(escape(one_line(text)), limit) or "–")


def _mrkdwn(runs: Iterable[Run], limit: int) -> MarkdownTextObject:
    # Not verbatim, Slack would turn a plain "@channel" or "#name" into a mention.
    return MarkdownTextObject(text=_markup(list(runs), limit), verbatim=True)


def _markup(runs: Sequence[Run], limit: int) -> str:
    """Return a text as markup of at most ``limit`` characters, nothing but plain text being cut in two."""
    pieces = [_piece(run) for run in runs]
    whole = "".join(pieces)
    if len(whole) <= limit:
        return whole if whole.strip() else "–"
    kept = ""
    for run, piece in zip(runs, pieces, strict=True):
        room = limit - len(CUT) - len(kept)
        if len(piece) > room:
            return kept + (_uncut(piece[:room]) if isinstance(run, str) else "") + CUT
        kept += piece
    return kept


def _piece(run: Run) -> str:
    if isinstance(run, str):
        return escape(run)
    if run["type"] == "moment":
        at = datetime.fromisoformat(run["at"])
        return f"<!date^{int(at.timestamp())}^{{date_short_pretty}} {{time_secs}}|{utc(at)}>"
    if run["type"] == "link":
        return _link(run["url"], run["label"])
    words = one_line(run["text"], _LONGEST_URL)
    return f"*{escape(words)}*" if run["type"] == "bold" else f"`{escape(words.replace('`', chr(39)))}`"


def _link(url: str, label: str) -> str:
    """Return markup for a link, or the escaped text where the URL is not one to be followed."""
    if re.fullmatch(r"https?://[^\s<>|\"]+", url) and len(url) <= _LONGEST_URL:
        return f"<{url.replace('&', '&amp;')}|{escape(one_line(label, _NAME))}>"
    return f"{escape(label)}: {_begun(escape(url), _LONGEST_URL)}"


def _begun(escaped: str, limit: int) -> str:
    """Return escaped text, or its beginning with a sign that it goes on."""
    return escaped if len(escaped) <= limit else _uncut(escaped[: limit - len(CUT)]) + CUT


def _uncut(escaped: str) -> str:
    """Return the beginning of an escaped text without a sign at its end that was cut in two."""
    sign = escaped.rfind("&", max(0, len(escaped) - 5))
    return escaped[:sign] if sign >= 0 and ";" not in escaped[sign:] else escaped
