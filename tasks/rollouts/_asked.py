"""How golive asks an instance on its own port, past the router."""

from __future__ import annotations

from pydantic import Field

from tasks.domain.kind import Strict
from tasks.domain.ports import HttpAnswer
from tasks.domain.target import Target


class Asked(Strict):
    """A request for a path of one instance."""

    headers: dict[str, str] = Field(
        default_factory=dict, examples=[{"Host": "shop.example.org", "X-Forwarded-Proto": "https"}]
    )
    """Headers to send; secrets by reference. A service that answers only for its own name, or only what came by HTTPS,
    has to be asked on its own port as its clients ask it."""

    def ask(self, target: Target, port: int, path: str, timeout: float) -> HttpAnswer:
        """Send the request and return the answer; raises `OutsideError` if none comes."""
        headers = {name: target.fill(value) for name, value in self.headers.items()}
        url = f"http://127.0.0.1:{port}{path}"
        return target.world.http.request("GET", url, headers=headers, timeout=timeout, fresh=True)
