"""Messages in Slack: one message per release, a thread beneath it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Annotated, Literal

from pydantic import Field

from tasks.domain.block_kit import TEXT, escape, shorten
from tasks.domain.errors import AccessDenied, OutsideError
from tasks.domain.kind import Duration, SecretReference, Strict
from tasks.domain.messages import Occasion
from tasks.domain.ports import ChatApi
from tasks.domain.release import State
from tasks.notifiers import Message, Notifier, Outlets

_IN_CHANNEL = frozenset({"request", "digest"})
Event = Literal["first_alert", "alert", "rollback", "recovery", "person", "reminder"]
_STATES: Mapping[str, Event] = {
    State.ROLLING_BACK: "rollback",
    State.ROLLED_BACK: "recovery",
    State.NEEDS_PERSON: "person",
}
_OCCASIONS: Mapping[str, Event] = {Occasion.STILL: "alert", Occasion.OVER: "recovery"}


class SlackUser(Strict):
    """Somebody who may press the buttons."""

    name: Annotated[str, Field(min_length=1, max_length=100, examples=["alice"])]
    """The name under which golive knows them, as in ``sign_off.people``."""
    roles: tuple[Annotated[str, Field(examples=["dba"])], ...] = ()
    """The roles in which they sign; without one they may only acknowledge."""


class Slack(Notifier):
    """Posts a release's root message, edits it as the release moves on, and replies in its thread.

    With an ``app_token`` people sign by buttons, roll back, acknowledge, and let a watch go on.
    """

    kind: Literal["slack"] = "slack"
    """Which kind this is."""
    token: SecretReference = "${env:SLACK_BOT_TOKEN}"  # noqa: S105 - a name
    """The bot token (scope chat:write), as a secret reference; with channels:history golive can also tell, after a
    connection broke, whether a message arrived (channels:read too, where ``channel`` is a name), with files:write it
    shows plots."""
    app_token: SecretReference | None = None
    """The app's token for Socket Mode (xapp-…, scope connections:write), as a secret reference; without it messages
    have no buttons."""
    people: dict[Annotated[str, Field(pattern=r"^[UW][A-Z0-9]{2,20}$")], SlackUser] = Field(default_factory=dict)
    """Who may press the buttons, by Slack's ID of the user (profile, ⋮, Copy member ID). Nobody else is heard."""
    channel: Annotated[str, Field(min_length=2, max_length=100, examples=["#ops", "C024BE91L"])]
    """The channel's name or, better, its ID; the bot must be a member of it."""
    broadcast: tuple[Event, ...] = ("first_alert", "rollback", "recovery", "person", "reminder")
    """Which replies in the thread are shown in the channel too: the ``first_alert`` since all was well, every other
    ``alert``, the beginning of a ``rollback``, a ``recovery`` (all passes again, or the previous version serves again),
    that a ``person`` must decide, and a ``reminder`` to sign."""
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

    @property
    def has_buttons(self) -> bool:
        """Whether golive hears of buttons that are pressed."""
        return self.app_token is not None

    def deliver(self, message: Message, outlets: Outlets) -> Mapping[str, str]:
        """Post the root or a request, edit it, or reply beneath it; what must be seen is shown in the channel too."""
        chat = outlets.chat(outlets.secrets.resolve(self.token), self.base_url, self.timeout)
        text = shorten(escape(message.text), TEXT) or "–"
        root = message.root_ref
        blocks = [block for block in message.blocks if self.has_buttons or block.get("type") != "actions"]
        if message.kind in ("root_edit", "request_edit"):
            if not root:
                raise OutsideError("the message that this one replaces was not delivered, so there is nothing to edit")
            return chat.update(root["channel"], root["ts"], text, blocks)
        # A request stands in the channel, where those who are to sign see it.
        thread = "" if message.kind in _IN_CHANNEL else root.get("ts", "")
        channel = root.get("channel", self.channel)
        if message.files:
            return _show(chat, channel, message, thread)
        if message.maybe_sent and (found := _sent(chat, channel, message, thread)):
            return found
        return chat.post(
            channel,
            text,
            blocks,
            key=message.key,
            thread_ts=thread,
            broadcast=thread != "" and _event(message) in self.broadcast,
        )

    def link(self, ref: Mapping[str, str], outlets: Outlets) -> str:
        """Return the address of a message in Slack, under which its thread opens."""
        chat = outlets.chat(outlets.secrets.resolve(self.token), self.base_url, self.timeout)
        return chat.link(ref["channel"], ref["ts"]) if "ts" in ref else ""


def _event(message: Message) -> Event | None:
    """Return what a message tells of that people may have to see at once, if it does."""
    if message.kind == "alert":
        return _OCCASIONS.get(message.occasion, "first_alert")
    if message.kind == "reminder":
        return "reminder"
    return _STATES.get(message.state) if message.kind in {"reply", "final"} else None


def _sent(chat: ChatApi, channel: str, message: Message, thread: str) -> Mapping[str, str] | None:
    try:
        return chat.find(channel, message.key, since=message.at, thread_ts=thread)
    except AccessDenied:
        # The token may write and not read. Then twice is better than not at all.
        return None


def _show(chat: ChatApi, channel: str, message: Message, thread: str) -> Mapping[str, str]:
    there: frozenset[str] = frozenset()
    if message.maybe_sent:
        with suppress(AccessDenied):  # as in `_sent`
            there = chat.uploaded(channel, since=message.at, thread_ts=thread)
    if missing := [one for one in message.files if one.name not in there]:
        chat.upload(channel, missing, thread_ts=thread)
    return {"channel": channel, "files": ", ".join(one.name for one in message.files)}
