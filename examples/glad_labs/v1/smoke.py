"""Smoke test against a running version: what worked before still does.

``python smoke.py --url http://127.0.0.1:8000``, with GLAD_LABS_TOKEN in the environment.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any


class Api:
    """Sends requests with the token and says so when an answer is not the expected one."""

    def __init__(self, url: str, token: str) -> None:
        self._url, self._token = url.rstrip("/"), token

    def ask(self, method: str, path: str, body: Any = None, *, expect: int = 200, token: bool = True) -> Any:
        """Return the answer's JSON; raises `AssertionError` on any other status."""
        headers = {"Content-Type": "application/json"}
        if token:
            headers["Authorization"] = f"Bearer {self._token}"
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._url + path, data, headers, method=method)  # noqa: S310 - the operator's URL
        try:
            with urllib.request.urlopen(request, timeout=5) as answer:  # noqa: S310
                status, text = answer.status, answer.read()
        except urllib.error.HTTPError as error:
            status, text = error.code, error.read()
        if status != expect:
            raise AssertionError(f"{method} {path}: {status}, expected {expect}: {text[:200]!r}")
        return json.loads(text) if text else None


def existing(api: Api, task_id: str) -> None:
    """Use what every version offers."""
    path = f"/api/tasks/{task_id}"
    require(api.ask("GET", "/health")["services"]["database"] == "ok", "the database is healthy")
    api.ask("GET", "/api/tasks", expect=401, token=False)
    require(api.ask("GET", "/api/tasks?limit=5")["status"] == "ok", "tasks are listed")
    changed = api.ask("PUT", f"{path}/status", {"status": "in_progress", "metadata": {"note": {"deep": "ä"}}})
    require(changed["status"] == "in_progress", "the status is set")
    require(api.ask("GET", path)["metadata"]["note"] == {"deep": "ä"}, "metadata is preserved")


def require(holds: object, what: str) -> None:
    """Report what holds; raises `AssertionError` if it does not."""
    if not holds:
        raise AssertionError(f"not so: {what}")
    sys.stdout.write(f"ok: {what}\n")


def run(*parts: Callable[[Api, str], None]) -> None:
    """Run the parts on a task of their own, which is removed at the end."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--url", required=True)
    api = Api(arguments.parse_args().url, os.environ["GLAD_LABS_TOKEN"])
    task_id = api.ask("POST", "/api/tasks", {"title": "smoke test", "metadata": {"smoke": True}}, expect=201)["id"]
    try:
        for part in parts:
            part(api, task_id)
    finally:
        api.ask("DELETE", f"/api/tasks/{task_id}", expect=204)


if __name__ == "__main__":
    run(existing)
