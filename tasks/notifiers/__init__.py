"""Notifiers: where messages for people go. One file per kind, found by its file."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, ClassVar, Literal, Protocol

from tasks.domain.kind import Kind
from tasks.domain.ports import Attachment, ChatApi, HttpAnswer, MailApi, MailServer, Secrets


@dataclass(frozen=True)
class Message:
    """One message of a release on its way out.

    ``kind`` is that of `tasks.domain.messages.Note`. ``text`` is one line and no markup; ``parts`` say the same and
    more, as `tasks.domain.messages.parts_of` returns them. ``key`` is the message's own for ever; ``at`` is when it was
    written.
    ``state`` is the one that the release has moved to, if the message tells of that; ``occasion`` is that of an alert.
    ``root_ref`` is what the notifier returned for the release's root message, if that was delivered; of a
    ``request_edit`` it is the one for the request.
    ``maybe_sent`` tells that an earlier try may have arrived without golive having heard of it. One of the kind
    ``plots`` is nothing but its ``files``; what cannot show files says its text.
    """

    key: str
    release_id: str
    kind: str
    text: str
    at: datetime
    parts: tuple[Mapping[str, object], ...] = ()
    root_ref: Mapping[str, str] = field(default_factory=dict)
    maybe_sent: bool = False
    state: str = ""
    occasion: str = ""
    files: tuple[Attachment, ...] = ()


class Outlets(Protocol):
    """What a notifier may reach people through."""

    @property
    def secrets(self) -> Secrets:
        """What resolves the names of secrets."""
        ...

    def chat(self, token: str, base_url: str, timeout: float) -> ChatApi:
        """Return a client for a chat's Web API; ``timeout`` is in seconds and holds for each call."""
        ...

    def request(
        self, method: str, url: str, *, headers: Mapping[str, str], json: Any = None, timeout: float
    ) -> HttpAnswer:
        """Ask a service over HTTP and return its answer; raises `Unreachable`, `ConnectionLost` or `TimedOut`."""
        ...

    def mail(self, server: MailServer) -> MailApi:
        """Return a client of a mail server."""
        ...

    def write_line(self, line: str) -> None:
        """Write a line for a person who looks on."""
        ...


Group = Literal["critical", "sign", "progress", "digest"]
_GROUPS: Mapping[str, Group] = {
    "alert": "critical",
    "request": "sign",
    "request_edit": "sign",
    "reminder": "sign",
    "digest": "digest",
}


class Notifier(Kind):
    """Delivers messages."""

    tells_people: ClassVar[bool] = True
    """Whether people read there what a message says; where no notifier does that, the console does."""
    shows_edits: ClassVar[bool] = True
    """Whether a message can say something else later, so that edits are of use."""

    only: tuple[Group, ...] = ()
    """Which messages it gets, all if left out: ``critical`` alerts, ``sign`` for requests to sign and their reminders,
    ``progress`` of releases, the ``digest``."""
    last_resort: bool = False
    """Whether it gets only what another notifier could not deliver: a refused token, a channel that is gone."""

    def wants(self, kind: str) -> bool:
        """Tell whether a message of this kind is for it."""
        return not self.only or _GROUPS.get(kind, "progress") in self.only

    @property
    def address(self) -> str:
        """The name under which the ledger keeps what was delivered: the kind and where it goes."""
        return self.kind

    @property
    def has_buttons(self) -> bool:
        """Whether people can press the buttons of its messages, and golive hears of it."""
        return False

    def link(self, ref: Mapping[str, str], outlets: Outlets) -> str:  # noqa: ARG002 - most have no address for it
        """Return where a person finds what was delivered, by what `deliver` returned; empty where there is no such.

        Raises as `deliver` does.
        """
        return ""

    @abstractmethod
    def deliver(self, message: Message, outlets: Outlets) -> Mapping[str, str]:
        """Deliver a message and return what is needed to edit it or reply to it.

        Raises `Unreachable`, `ConnectionLost`, `TimedOut` or `ServerTrouble` where another try may help, and
        `AccessDenied`, `SecretMissing` or `OutsideError` where it cannot.
        """
