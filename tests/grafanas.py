"""A server that speaks what annotations need of Grafana's API, as Grafana itself cannot be had as a package."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.scripted import ScriptedServer, scripted

TOKEN = "glsa_" + "a" * 32


class FakeGrafana:
    """Keeps annotations; the next ``lose`` ones it takes without saying so, and ``status`` is what it answers."""

    def __init__(self) -> None:
        self.annotations: list[dict[str, Any]] = []
        self.lose = 0
        self.status = 200
        self.server: ScriptedServer

    @property
    def url(self) -> str:
        return self.server.url

    def events(self, release_id: str) -> list[str]:
        """What was annotated of a release."""
        mine = sorted((one for one in self.annotations if release_id in one["tags"]), key=lambda one: one["time"])
        return [one["tags"][2] for one in mine]

    def answer(self, method: str, path: str, body: Any) -> Any:
        headers = {name.lower(): value for name, value in self.server.seen[-1][2].items()}
        if headers.get("authorization") != f"Bearer {TOKEN}":
            return 401, {"message": "Unauthorized"}
        if self.status != 200:
            return self.status, {"message": "trouble"}
        if method == "POST":
            self.annotations.append({**body, "id": len(self.annotations) + 1})
            if self.lose:
                self.lose -= 1
                return None
            return {"message": "Annotation added", "id": len(self.annotations)}
        asked = parse_qs(urlsplit(path).query)
        begin, end = int(asked["from"][0]), int(asked["to"][0])
        return [
            one for one in self.annotations if set(asked["tags"]) <= set(one["tags"]) and begin <= one["time"] <= end
        ]


@contextmanager
def fake_grafana() -> Iterator[FakeGrafana]:
    """Run one until the block ends."""
    grafana = FakeGrafana()
    with scripted({"/api/annotations": grafana.answer}) as server:
        grafana.server = server
        yield grafana
