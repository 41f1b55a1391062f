"""Asking a service that speaks JSON over HTTP, as Prometheus, Alertmanager and Grafana do."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any
from urllib.parse import urlencode

from pydantic import Field

from tasks.domain.asking import Filled
from tasks.domain.errors import OutsideError
from tasks.domain.kind import Strict
from tasks.domain.ports import HttpAnswer
from tasks.domain.target import Target


class Api(Strict):
    """A service that is asked over HTTP and answers in JSON."""

    url: Annotated[str, Field(min_length=1, examples=["http://127.0.0.1:9090", "https://me:${env:PASSWORD}@host"])]
    """The service's address, with any prefix of its paths; a user and a password, by reference, may stand in it."""
    headers: dict[str, str] = Field(default_factory=dict, examples=[{"Authorization": "Bearer ${env:API_TOKEN}"}])
    """Headers to send; secrets by reference."""

    def ask(
        self,
        target: Target,
        path: str,
        params: Mapping[str, str | Sequence[str]] | None = None,
        *,
        timeout: float,
        post: Any = None,
    ) -> Any:
        """Return the JSON of a right answer; raises one of `SILENCE`, or `OutsideError` for any other answer."""
        status, document = self.reply(target, path, params, timeout=timeout, post=post)
        if status != 200:
            seen = target.world.secrets.mask(f"status {status}: {json.dumps(document)[:300]}")
            raise OutsideError(seen, expected="status 200", where=self._place(target, path))
        return document

    def reply(
        self,
        target: Target,
        path: str,
        params: Mapping[str, str | Sequence[str]] | None = None,
        *,
        timeout: float,
        post: Any = None,
    ) -> tuple[int, Any]:
        """Return status and JSON of whatever is answered; raises one of `SILENCE`, or `OutsideError` if not JSON."""
        answer = self.raw(target, path, params, timeout=timeout, post=post)
        try:
            return answer.status, json.loads(answer.body) if answer.body.strip() else None
        except ValueError:
            seen = target.world.secrets.mask(answer.body[:300].decode(errors="replace"))
            raise OutsideError(f"status {answer.status} and no JSON: {seen}", where=self._place(target, path)) from None

    def raw(
        self,
        target: Target,
        path: str,
        params: Mapping[str, str | Sequence[str]] | None = None,
        *,
        timeout: float,
        post: Any = None,
    ) -> HttpAnswer:
        """Return the answer as it is; raises one of `SILENCE` if there is none."""
        query = f"?{urlencode(params, doseq=True)}" if params else ""
        headers = {name: target.fill(value) for name, value in self.headers.items()}
        url = f"{target.fill(self.url).rstrip('/')}{path}{query}"
        return Filled("GET" if post is None else "POST", url, headers, post).send(target, timeout)

    def _place(self, target: Target, path: str) -> str:
        return target.world.secrets.mask(f"{self.url.rstrip('/')}{path}")
