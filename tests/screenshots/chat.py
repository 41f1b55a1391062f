"""Messages as Slack shows them, rendered as text: threads, headers, fields, buttons, files."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping, Sequence
from textwrap import wrap
from typing import Any

from examples.slack_server import FakeSlack

WIDTH = 100
_LINK = re.compile(r"<(https?://[^|>]+)\|([^>]+)>")
_MOMENT = re.compile(r"<!date\^\d+\^[^|>]*\|([^>]+)>")


def conversation(slack: FakeSlack) -> str:
    """Return the channel as text, with the thread of each message beneath it."""
    parts = []
    for root in slack.roots():
        parts.append(f"{'═' * WIDTH}\n{message(root)}")
        parts += [_indented(message(reply)) for reply in slack.thread(root["ts"])]
    return "\n\n".join(parts) + "\n"


def message(said: Mapping[str, Any]) -> str:
    """Return one message: its blocks, or its text where it has none, and beneath them what is attached."""
    lines = [f"· edited {said['edits']} times" if said["edits"] > 1 else "· edited"] if said["edits"] else []
    if said["broadcast"]:
        lines.append("· also sent to the channel")
    lines += [line for block in said["blocks"] for line in _block(block)] or [plain(said["text"])]
    lines += [f"[file {one['name']}: {one['title']}, {len(one['data']):,} bytes]" for one in said.get("files", [])]
    if said["blocks"]:
        lines.append(f"(as a notification: {plain(said['text'])})")
    return "\n".join(lines)


def plain(markup: str) -> str:
    """Return Slack's markup as people see it."""
    return html.unescape(_MOMENT.sub(r"\1", _LINK.sub(r"\2 (\1)", markup)))


def _block(block: Mapping[str, Any]) -> list[str]:
    match block["type"]:
        case "header":
            text = plain(block["text"]["text"])
            return [text, "─" * min(WIDTH, len(text))]
        case "divider":
            return ["─" * WIDTH]
        case "actions":
            return ["  ".join(f"[ {_label(one)} ]" for one in block["elements"])]
        case "context":
            return [f"  {plain(one['text'])}" for one in block["elements"] if "text" in one]
    lines = plain(block["text"]["text"]).splitlines() if "text" in block else []
    lines += _columns([plain(one["text"]) for one in block.get("fields", [])])
    if "accessory" in block:
        lines.append(f"[ {_label(block['accessory'])} ]")
    return lines


def _columns(fields: Sequence[str]) -> list[str]:
    """Return fields two beside each other, as Slack has them on a wide screen."""
    half, lines = WIDTH // 2, []
    wrapped = [[part for line in one.splitlines() for part in wrap(line, half - 2)] for one in fields]
    for at in range(0, len(fields), 2):
        left, right = wrapped[at], (wrapped[at + 1] if at + 1 < len(fields) else [])
        for number in range(max(len(left), len(right))):
            one = left[number] if number < len(left) else ""
            other = right[number] if number < len(right) else ""
            lines.append(f"  {one:<{half}}{other}".rstrip())
    return lines


def _label(element: Mapping[str, Any]) -> str:
    return str((element.get("text") or element.get("placeholder") or {"text": element["type"]})["text"])


def _indented(text: str) -> str:
    return "\n".join(f"    │ {line}" for line in text.splitlines())
