"""Annotations in Grafana: where a release began, went live or was taken back, drawn into every dashboard that asks."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Annotated, Any, ClassVar, Literal
from urllib.parse import urlencode

from pydantic import Field

from tasks.domain.errors import AccessDenied, OutsideError, ServerTrouble
from tasks.domain.kind import Duration, SecretReference
from tasks.domain.release import State
from tasks.notifiers import Message, Notifier, Outlets

_MOMENTS: Mapping[tuple[str, str], str] = {
    ("root", State.PREFLIGHT): "started",
    ("reply", State.WATCHING): "live",
    ("final", State.ROLLED_BACK): "rolled back",
    ("final", State.STOPPED): "stopped",
}
"""What a message of a kind tells that tells of a move to a state; all other messages are left to other notifiers."""
_AROUND = timedelta(minutes=1)
_TAG = "golive"


class Grafana(Notifier):
    """Adds an annotation when a release starts, is live, is rolled back or stopped; all else it leaves to others."""

    tells_people: ClassVar[bool] = False

    kind: Literal["grafana"] = "grafana"
    """Which kind this is."""
    url: Annotated[str, Field(pattern=r"^https?://[^\s/]+(/\S*)?$", examples=["https://grafana.example.org"])]
    """Grafana's address, with any prefix of its paths. The token goes there: plain http only where nobody listens."""
    token: SecretReference = "${env:GRAFANA_TOKEN}"  # noqa: S105 - a name
    """A service account's token, as a secret reference; it needs ``annotations:create`` and ``annotations:read``."""
    tags: tuple[str, ...] = Field(default=(), examples=[["shop"]])
    """Tags besides ``golive``, the release's id and what happened; dashboards ask for annotations by tag."""
    dashboard: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{0,40}$", examples=["shop-overview"])] = ""
    """The UID of the one dashboard to annotate; by default the whole organisation, for whichever asks by tag."""
    timeout: Duration = 10.0
    """After how long a request is given up."""

    @property
    def address(self) -> str:
        """The name under which the ledger keeps what was delivered."""
        return f"{self.kind}:{self.url}" + (f":{self.dashboard}" if self.dashboard else "")

    def deliver(self, message: Message, outlets: Outlets) -> Mapping[str, str]:
        """Add the annotation of a message that tells of one of these moments, once, and return its id."""
        event = _MOMENTS.get((message.kind, message.state))
        if event is None:
            return {}
        if message.maybe_sent and (found := self._find(message, outlets)):
            return found
        body: dict[str, Any] = {
            "time": _milliseconds(message.at),
            "tags": [_TAG, message.release_id, event, *self.tags, _key(message)],
            "text": message.text or event,
        }
        if self.dashboard:
            body["dashboardUID"] = self.dashboard
        return {"id": str(self._asked("POST", "/api/annotations", outlets, body)["id"])}

    def _find(self, message: Message, outlets: Outlets) -> Mapping[str, str] | None:
        when = {"from": _milliseconds(message.at - _AROUND), "to": _milliseconds(message.at + _AROUND)}
        asked = urlencode({**when, "tags": _key(message)})
        found: Sequence[Mapping[str, Any]] = self._asked("GET", f"/api/annotations?{asked}", outlets)
        return {"id": str(found[0]["id"])} if found else None

    def _asked(self, method: str, path: str, outlets: Outlets, body: Any = None) -> Any:
        headers = {"Authorization": f"Bearer {outlets.secrets.resolve(self.token)}"}
        url = f"{self.url.rstrip('/')}{path}"
        answer = outlets.request(method, url, headers=headers, json=body, timeout=self.timeout)
        seen, where = f"status {answer.status}", f"Grafana {self.url}"
        if answer.status in {401, 403}:
            raise AccessDenied(seen, where=where, do="check the token and what it may do")
        if answer.status == 429 or answer.status >= 500:
            raise ServerTrouble(seen, where=where)
        try:
            found = json.loads(answer.body)
        except ValueError:
            raise OutsideError(f"{seen} and no JSON", expected="Grafana's API", where=where) from None
        if answer.status != 200:
            raise OutsideError(f"{seen}: {str(found)[:200]}", expected="status 200", where=where)
        return found


def _key(message: Message) -> str:
    return f"{_TAG}:{message.key}"


def _milliseconds(at: datetime) -> int:
    return round(at.timestamp() * 1000)
