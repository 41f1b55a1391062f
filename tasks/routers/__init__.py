"""Routers: what sends the clients' requests to a running version. One file per kind, found by its file."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

from tasks.domain.kind import Kind
from tasks.domain.target import Target


@dataclass(frozen=True)
class Upstream:
    """Where requests go: a slot's name and its address, such as ``blue`` at ``127.0.0.1:8101``."""

    slot: str
    address: str


class Router(Kind):
    """Sends requests to one upstream, and changes it in one step that drops no request."""

    @abstractmethod
    def current(self, target: Target) -> Upstream | None:
        """Return where requests go now, as the router itself reports it, or None if nowhere yet."""

    @abstractmethod
    def switch(self, target: Target, upstream: Upstream) -> None:
        """Send new requests to the upstream, let those under way finish, and read the change back.

        Starts the router first if it is golive's own. Raises `RolloutFailed` with the router's words, the former state
        still in force.
        """

    def close(self, target: Target) -> None:
        """End the router if golive started it."""
