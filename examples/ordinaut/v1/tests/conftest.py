"""An API on a free port over tables that are kept in memory; no test needs a database."""

from __future__ import annotations

import json
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from api.app import App, server
from engine import tokens

KEY = "a-key-of-the-tests-alone-0123456789"  # pragma: allowlist secret


class MemoryStore:
    """Keeps what `engine.store.Store` keeps; while ``away`` no call is answered."""

    def __init__(self) -> None:
        self.away, self.kept, self.queue, self.runs, self.audit = False, {}, [], [], []
        self.lock = threading.Lock()

    def ping(self) -> None:
        if self.away:
            raise psycopg.OperationalError("away")

    def agent(self, name: str) -> str | None:
        self.ping()
        return f"id of {name}" if name == "system" else None

    def add_task(self, agent: str, task: dict[str, Any], next_run: datetime) -> str:
        self.ping()
        with self.lock:
            name = f"{len(self.kept):036x}"
            self.kept[name] = {**task, "id": name, "next_run": next_run, "runs": 0}
            self.audit.append((agent, "task.created", name))
        return name

    def remove_task(self, agent: str, task_id: str) -> bool:
        self.audit.append((agent, "task.deleted", task_id))
        return self.kept.pop(task_id, None) is not None

    def task(self, task_id: str) -> dict[str, Any] | None:
        found = self.kept.get(task_id)
        return found and {**found, "next_run": str(found["next_run"])}

    def tasks(self) -> list[dict[str, Any]]:
        self.ping()
        return list(self.kept.values())[-20:]

    def enqueue_due(self) -> int:
        self.ping()
        due = [one for one in self.kept.values() if one["next_run"] and one["next_run"] <= datetime.now(UTC)]
        for one in due:
            one["next_run"] = None
            self.queue.append({"id": len(self.queue), "task_id": one["id"], "payload": one["payload"]})
        return len(due)

    def claim(self, worker: str) -> dict[str, Any] | None:
        self.ping()
        with self.lock:
            return self.queue.pop(0) if self.queue else None

    def finish(self, work: dict[str, Any], worker: str, started: datetime, error: str | None) -> None:
        self.runs.append((work["task_id"], worker, error))

    def seen(self, worker: str) -> None:
        self.ping()

    def figures(self) -> dict[str, int]:
        return {"database_connections": 1, "task_processing_rate": len(self.runs), "worker_active_count": 1}


class Limiter:
    def __init__(self) -> None:
        self.left, self.away = 10_000, False

    def allows(self, agent: str) -> bool:
        self.left -= 1
        return self.left >= 0

    def ping(self) -> None:
        if self.away:
            raise OSError("away")


class Client:
    """Sends requests as an agent."""

    def __init__(self, app: App, port: int) -> None:
        self.app, self.port, self.token = app, port, tokens.issue("system", KEY)

    def ask(self, method: str, path: str, body: Any = None, token: str | None = None) -> tuple[int, Any]:
        data = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {"Authorization": f"Bearer {self.token if token is None else token}"}
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                status, text = answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            status, text = error.code, error.read().decode()
        return status, json.loads(text) if text.startswith("{") else text


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def api(store: MemoryStore) -> Iterator[Client]:
    app = App("test", store, Limiter(), KEY)
    serving = server(app, 0)
    thread = threading.Thread(target=serving.serve_forever, args=(0.02,))
    thread.start()
    yield Client(app, serving.server_address[1])
    serving.shutdown()
    serving.server_close()
    thread.join()


@pytest.fixture
def task() -> dict[str, Any]:
    return {
        "title": "a task",
        "schedule_kind": "once",
        "schedule_expr": "2025-01-10T09:00:00+00:00",
        "payload": {"pipeline": [{"id": "test", "uses": "noop"}]},
    }
