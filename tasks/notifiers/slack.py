"""Messages in Slack: one message per release, a thread beneath it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field

from tasks.domain.block_kit import TEXT, clip, escape
from tasks.domain.errors import AccessDenied, OutsideError
from tasks.domain.kind import Duration
from tasks.domain.ports import ChatApi
from tasks.notifiers import Message, Notifier, Outlets


class Slack(Notifier):
    """Posts a release's root message, edits it as the release moves on, and replies in its thread."""

    kind: Literal["slack"] = "slack"
    """Which kind this is."""
    token: Annotated[str, Field(pattern=r"^\$\{(env|file|block):[^{}]+\}$")] = "${env:SLACK_BOT_TOKEN}"  # noqa: S105 - a name
    """The bot token (scope chat:write), as a secret reference; with channels:history golive can also tell, after a
    connection broke, whether a message arrived (channels:read too, where ``channel`` is a name)."""
    channel: Annotated[str, Field(min_length=2, max_length=100, examples=["#ops", "C024BE91L"])]
    """The channel's name or, better, its ID; the bot must be a member of it."""
    base_url: Annotated[str, Field(pattern=r"^(https://[^\s/]+|http://(127\.0\.0\.1|localhost)(:\d+)?)/(\S*/)?$")] = (
        "https://slack.com/api/"
    )
    """Where the Web API is; plain http only on this machine, since the token goes there."""
    timeout: Duration = 10.0
    """After how long a call of the Web API is given up."""

    @property
    def address(self) -> str:
        """The name under which the ledger keeps what was delivered."""
        return f"{self.kind}:{self.channel}"

    def deliver(self, message: Message, outlets: Outlets) -> Mapping[str, str]:
        """Post the root, edit it, or reply beneath it; an alert is shown in the channel too."""
        chat = outlets.chat(outlets.secrets.resolve(self.token), self.base_url, self.timeout)
        text = clip(escape(message.text), TEXT) or "–"
        root = message.root_ref
        if message.kind == "root_edit":
            if not root:
                raise OutsideError("the release's root message was not delivered, so there is nothing to edit")
            return chat.update(root["channel"], root["ts"], text, message.blocks)
        thread = root.get("ts", "")
        channel = root.get("channel", self.channel)
        if message.maybe_sent and (found := _sent(chat, channel, message, thread)):
            return found
        return chat.post(
            channel,
            text,
            message.blocks,
            key=message.key,
            thread_ts=thread,
            broadcast=message.kind == "alert" and thread != "",
        )


def _sent(chat: ChatApi, channel: str, message: Message, thread: str) -> Mapping[str, str] | None:
    try:
        return chat.find(channel, message.key, since=message.at, thread_ts=thread)
    except AccessDenied:
        # The token may write and not read. Then twice is better than not at all.
        return None
