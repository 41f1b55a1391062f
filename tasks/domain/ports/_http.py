"""Requests over HTTP."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol


@dataclass(frozen=True)
class HttpAnswer:
    """One HTTP answer; ``elapsed`` is in seconds, header names are lower case."""

    status: int
    body: bytes
    elapsed: float
    headers: Mapping[str, str] = field(default_factory=dict)


class Http(Protocol):
    """Sends HTTP requests over kept-alive connections."""

    def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        json: Any = None,
        content: bytes | None = None,
        timeout: float = 10.0,
        follow_redirects: bool = False,
        fresh: bool = False,
    ) -> HttpAnswer:
        """Return the answer, whatever its status; ``fresh`` opens a new connection.

        Raises `Unreachable`, `ConnectionLost` or `TimedOut` if there is none.
        """
        ...
