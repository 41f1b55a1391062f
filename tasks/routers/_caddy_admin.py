"""The admin API of a Caddy that the system's people run, as far as it is about one handler."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tasks.domain.errors import OutsideError, RolloutFailed, ServerTrouble
from tasks.domain.ports import Http, HttpAnswer

Handler = Mapping[str, Any]
"""A ``reverse_proxy`` handler, as Caddy's configuration has it."""
_TRIES = 3
_WITHIN = 30.0  # a change makes Caddy build its whole configuration anew


@dataclass(frozen=True)
class Admin:
    """Reads and changes the handler with an ``@id``, and never overwrites unseen what somebody else changed."""

    http: Http
    url: str
    id: str

    def handler(self) -> Handler:
        """Return the handler that is in force; raises `RolloutFailed` if there is none of that id."""
        return self._marked()[0]

    def change(self, wanted: Callable[[Handler], Handler | None], meant: str) -> Handler | None:
        """Change the handler to what is ``wanted`` of it and return what it was; None if it is right as it is.

        Raises `RolloutFailed`, which tells what the change was ``meant`` to do.
        """
        for _ in range(_TRIES):
            former, mark = self._marked()
            new = wanted(former)
            if new is None:
                return None
            try:
                answer = self._ask("PATCH", self._handler_url, new, {"If-Match": mark})
            except OutsideError as error:
                # Whether it was taken is not known.
                raise self.failed(f"{error.seen}; {self.restored(former)}", meant) from error
            if answer.status == 200:
                return former
            if answer.status != 412:
                raise self.failed(f"refused by Caddy: {_said(answer)}", meant)
        raise self.failed(f"somebody else changed the handler during each of {_TRIES} tries", meant)

    def restored(self, former: Handler) -> str:
        """Put a handler back and return how that went, in words."""
        try:
            answer = self._ask("PATCH", self._handler_url, former)
        except OutsideError as error:
            return f"the former handler could not be put back: {error.seen}"
        if answer.status != 200:
            return f"the former handler was not taken back: {_said(answer)}"
        return "the former handler is back"

    def let_tell(self, port: int, text: str) -> None:
        """Let Caddy answer on a port of its own loopback with a text, whose placeholders it fills at each request."""
        told = {"handler": "static_response", "headers": {"Content-Type": ["text/plain"]}, "body": text}
        server = {
            "listen": [f"127.0.0.1:{port}"],
            "automatic_https": {"disable": True},
            "routes": [{"handle": [told]}],
        }
        url = f"{self.url}/config/apps/http/servers/golive_{self.id}"
        found = self._ask("GET", url)
        if found.status == 200 and json.loads(found.body) == server:
            return
        answer = self._ask("POST", url, server)  # made, or replaced
        if answer.status != 200:
            raise self.failed(f"refused by Caddy: {_said(answer)}", f"Caddy tells on port {port} what is in force")

    def failed(self, seen: str, meant: str) -> RolloutFailed:
        """Return the error that something ``seen`` is not what was ``meant``."""
        return RolloutFailed(
            seen, expected=meant, where=self._handler_url, do="look at Caddy's log and configuration, and start again"
        )

    @property
    def _handler_url(self) -> str:
        return f"{self.url}/id/{self.id}"

    def _marked(self) -> tuple[Handler, str]:
        """Return the handler, with the mark by which a later change of it is noticed."""
        answer = self._ask("GET", self._handler_url)
        if answer.status != 200:
            trouble = ServerTrouble if answer.status >= 500 else RolloutFailed
            raise trouble(
                f"status {answer.status}: {_said(answer)}",
                expected=f'a reverse_proxy handler with "@id": "{self.id}"',
                where=self.url,
                do="give the handler that id in Caddy's configuration, or correct the router's admin or id",
            )
        found = json.loads(answer.body)
        if not isinstance(found, dict) or found.get("handler") != "reverse_proxy":
            raise RolloutFailed(
                f"{self.id} is no reverse_proxy handler", expected="one", where=self.url, do="move the id to it"
            )
        return found, answer.headers.get("etag", "")

    def _ask(
        self, method: str, url: str, content: Handler | None = None, headers: Mapping[str, str] | None = None
    ) -> HttpAnswer:
        return self.http.request(method, url, json=content, headers=headers, timeout=_WITHIN, fresh=True)


def _said(answer: HttpAnswer) -> str:
    return answer.body.decode(errors="replace").strip()[:500]
