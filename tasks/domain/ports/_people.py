"""The ways to reach people, and to hear from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol


@dataclass(frozen=True)
class Attachment:
    """A file that goes with a message; ``name`` is its own for ever, ``alt`` says what a reader would see."""

    name: str
    title: str
    alt: str
    data: bytes = field(repr=False)


@dataclass(frozen=True)
class Dialog:
    """A dialog that asks for a sentence; ``act`` and ``value`` come back with it, ``submit`` is the button's label."""

    title: str
    label: str
    act: str
    value: str
    submit: str


class ChatApi(Protocol):
    """A chat that keeps threads. Texts are as they are, ``parts`` as `tasks.domain.messages.parts_of` returns them.

    Errors come as `Unreachable` (certainly not sent), `ConnectionLost` or `TimedOut` (perhaps sent), `ServerTrouble`
    with ``retry_after``, `AccessDenied`, or `OutsideError` where another try cannot help.
    """

    def post(
        self,
        channel: str,
        text: str,
        parts: Sequence[Mapping[str, object]],
        *,
        key: str,
        thread_ts: str = "",
        broadcast: bool = False,
    ) -> Mapping[str, str]:
        """Send a message that can be found again by ``key``, and return its ``channel`` and ``ts``.

        ``broadcast`` shows a reply in the channel too.
        """
        ...

    def update(self, channel: str, ts: str, text: str, parts: Sequence[Mapping[str, object]]) -> Mapping[str, str]:
        """Make a message say something else, and return its ``channel`` and ``ts``."""
        ...

    def find(self, channel: str, key: str, *, since: datetime, thread_ts: str = "") -> Mapping[str, str] | None:
        """Return ``channel`` and ``ts`` of the message that was sent with that key, or None if there is none.

        Raises `AccessDenied` where the token may not read the channel.
        """
        ...

    def link(self, channel: str, ts: str) -> str:
        """Return the address at which people see a message."""
        ...

    def whisper(self, channel: str, user: str, text: str) -> None:
        """Say something in a channel that one user alone sees."""
        ...

    def open_dialog(self, trigger: str, dialog: Dialog) -> None:
        """Show a dialog to whoever pressed a button, within seconds of which ``trigger`` is good for it."""
        ...

    def upload(self, channel: str, files: Sequence[Attachment], *, thread_ts: str = "") -> None:
        """Show files in one message; all of them, or none. Raises `AccessDenied` where the token may not do that."""
        ...

    def uploaded(self, channel: str, *, since: datetime, thread_ts: str = "") -> frozenset[str]:
        """Return the names of the files that have been shown there since then.

        Raises `AccessDenied` where the token may not read the channel.
        """
        ...


@dataclass(frozen=True)
class MailServer:
    """A server that takes mails; ``timeout`` is in seconds, ``trust`` a file of certificates, the system's if empty."""

    host: str
    port: int
    security: str
    trust: str
    user: str
    password: str = field(repr=False)
    timeout: float


@dataclass(frozen=True)
class Mail:
    """A mail; ``id`` is the same for each copy of it, ``answers`` the id of the one that it stands beneath."""

    id: str
    sender: str
    to: Sequence[str]
    subject: str
    text: str
    answers: str = ""


class MailApi(Protocol):
    """A server that takes mails. Errors come as in `ChatApi`."""

    def send(self, mail: Mail) -> None:
        """Hand a mail over to all its receivers."""
        ...


@dataclass(frozen=True)
class Press:
    """A button that was pressed in a chat, or a dialog that was sent.

    ``id`` is the number that the chat gave it, ``user`` and ``channel`` are the chat's own, ``act`` and ``nonce`` what
    the button carries, ``text`` what was written in the dialog, and ``trigger`` what opens one.
    """

    id: str
    user: str
    channel: str
    act: str
    nonce: str
    text: str = ""
    trigger: str = ""
