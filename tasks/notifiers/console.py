"""Messages on the console of the process that delivers them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC
from typing import Literal

from tasks.domain.plain_text import plain
from tasks.notifiers import Message, Notifier, Outlets

_SIGNS = {"alert": "ALERT ", "final": "END ", "request": "TO SIGN ", "reminder": "TO SIGN "}


class Console(Notifier):
    """Writes each message as one line with its time and release."""

    kind: Literal["console"] = "console"
    """Which kind this is."""

    def deliver(self, message: Message, outlets: Outlets) -> Mapping[str, str]:
        """Write the message; an edit of the root is a line of its own."""
        at = f"{message.at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
        outlets.write_line(f"{at} [{message.release_id}] {_SIGNS.get(message.kind, '')}{plain(message.text)}")
        return {}
