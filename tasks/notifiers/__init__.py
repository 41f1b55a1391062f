"""Notifiers: where messages for people go. One file per kind, found by its file."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tasks.domain.kind import Kind


@dataclass(frozen=True)
class Message:
    """One message of a release: its root, which is edited, or a reply in its thread.

    ``blocks`` are Block Kit blocks as plain dictionaries; ``text`` says the same in one line.
    ``root_ref`` is what the notifier returned for the release's root message, if it was sent.
    """

    key: str
    text: str
    blocks: tuple[Mapping[str, Any], ...] = ()
    root_ref: Mapping[str, str] = field(default_factory=dict)
    edit: bool = False


class Notifier(Kind):
    """Delivers messages."""

    @abstractmethod
    def deliver(self, message: Message, outlet: Any) -> Mapping[str, str]:
        """Deliver a message through ``outlet`` and return what is needed to edit it or reply to it.

        Raises `ServerTrouble`, `Unreachable`, … (worth another try) or `AccessDenied` (not).
        """
