"""Tasks over HTTP: who may ask, what is kept, and what is measured."""

from __future__ import annotations

import json
import logging
import re
import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Protocol

import psycopg
from engine import pipeline, schedule, tokens

from api.listing import shown

log = logging.getLogger("api")
_TASK = re.compile(r"/tasks/([0-9a-f-]{36})")
_LARGEST = 100_000


class Limiter(Protocol):
    """Counts the requests of an agent."""

    def allows(self, agent: str) -> bool:
        """Tell whether the agent may send another request in this minute."""

    def ping(self) -> None:
        """Raise `OSError` if what counts does not answer."""


class Refused(Exception):
    """A request that is answered with a status and a reason."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


@dataclass
class App:
    """What the API is made of."""

    version: str
    store: Any
    limiter: Limiter
    key: str = field(repr=False)
    requests: Counter[tuple[str, int]] = field(default_factory=Counter)
    connections: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def answer(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> tuple[int, Any]:
        """Return the status and the body of an answer; a text is sent as it is."""
        try:
            status, answer = self._answer(method, path, headers, body)
        except Refused as refused:
            status, answer = refused.status, {"detail": str(refused)}
        except psycopg.DataError:
            status, answer = 422, {"detail": "the database does not take that"}
        except psycopg.Error as error:
            log.error("%s %s: the database does not answer (%s)", method, path, type(error).__name__)  # noqa: TRY400 - a trace says no more
            status, answer = 503, {"detail": "the database does not answer"}
        except Exception:  # whatever it is, the client gets an answer and the log its lines
            log.exception("%s %s failed", method, path)
            status, answer = 500, {"detail": "Internal Server Error"}
        with self.lock:
            self.requests[method, status] += 1
        return status, answer

    def _answer(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> tuple[int, Any]:
        if (method, path) == ("GET", "/health"):
            return self._health()
        if (method, path) == ("GET", "/metrics"):
            return 200, self._metrics()
        agent = self._agent(headers)
        found = _TASK.fullmatch(path)
        if (method, path) == ("GET", "/tasks"):
            return 200, {"tasks": [shown(task) for task in self.store.tasks()]}
        if (method, path) == ("POST", "/tasks"):
            return 201, {"id": self._add(agent, body)}
        if found and method == "GET":
            return 200, self._known(self.store.task(found[1]))
        if found and method == "DELETE":
            return 200, {"removed": bool(self._known(self.store.remove_task(agent, found[1])))}
        raise Refused(404, "Not Found")

    def _agent(self, headers: Mapping[str, str]) -> str:
        word, _, token = headers.get("authorization", "").partition(" ")
        name = tokens.agent_of(token, self.key) if word.lower() == "bearer" else None
        agent = self.store.agent(name) if name else None
        if name is None or agent is None:
            raise Refused(401, "a valid bearer token of a known agent is needed")
        if not self.limiter.allows(name):
            raise Refused(429, "too many requests in this minute")
        return str(agent)

    def _add(self, agent: str, body: bytes) -> str:
        try:
            task = json.loads(body)
            pipeline.validated(task["payload"])
            now = datetime.now(UTC)
            next_run = schedule.first_run(task["schedule_kind"], task["schedule_expr"], now)
            if not isinstance(task["title"], str) or not task["title"]:
                raise ValueError("a task needs a title")
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise Refused(422, f"no task: {error}") from error
        return str(self.store.add_task(agent, task, next_run))

    def _known(self, found: Any) -> Any:
        if not found:
            raise Refused(404, "Task not found")
        return found

    def _health(self) -> tuple[int, Any]:
        parts = {"database": "ok", "redis": "ok"}
        try:
            self.store.ping()
        except psycopg.Error:
            parts["database"] = "unreachable"
        try:
            self.limiter.ping()
        except OSError:
            parts["redis"] = "unreachable"
        well = set(parts.values()) == {"ok"}
        return 200 if well else 503, {"status": "ok" if well else "degraded", "version": self.version, **parts}

    def connected(self, by: int) -> None:
        """Count a connection that was opened or, with -1, closed."""
        with self.lock:
            self.connections += by

    def _metrics(self) -> str:
        with self.lock:
            requests, connections = sorted(self.requests.items()), self.connections
        lines = [f'http_requests_total{{method="{m}",status="{s}"}} {n}' for (m, s), n in requests]
        figures = {**self.store.figures(), "http_connections_open": connections}
        return "\n".join([*lines, *(f"{name} {value}" for name, value in figures.items()), ""])


def server(app: App, port: int, host: str = "127.0.0.1") -> ThreadingHTTPServer:
    """Return a server of the API that does not serve yet."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # head and body in one packet
        timeout = 30

        def setup(self) -> None:
            app.connected(1)
            super().setup()

        def finish(self) -> None:
            app.connected(-1)
            super().finish()

        def _serve(self) -> None:
            started, size = time.monotonic(), int(self.headers.get("content-length") or 0)
            body = self.rfile.read(min(size, _LARGEST))
            status, answer = app.answer(self.command, self.path, {k.lower(): v for k, v in self.headers.items()}, body)
            text = answer.encode() if isinstance(answer, str) else json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("content-type", "text/plain" if isinstance(answer, str) else "application/json")
            self.send_header("content-length", str(len(text)))
            self.send_header("x-version", app.version)
            self.end_headers()
            self.wfile.write(text)
            if not self.path.startswith(("/health", "/metrics")):
                log.info("%s %s: %d in %.0f ms", self.command, self.path, status, 1000 * (time.monotonic() - started))

        do_GET = do_POST = do_DELETE = _serve  # noqa: N815 - the base class names them so

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 128

    return Server((host, port), Handler)
