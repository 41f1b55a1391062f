"""A small HTTP server on loopback whose answers stand in a table, for services that cannot be had as packages."""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit


class ScriptedServer(ThreadingHTTPServer):
    """Answers by path; ``seen`` holds each request.

    ``answers`` holds a body, or status and body, or a deque of such, of which the last is for all further requests; or
    a function of method, path and body that returns such, or None to break the connection off.
    """

    daemon_threads = True

    def __init__(self, answers: Mapping[str, Any]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers = dict(answers)
        self.seen: list[tuple[str, str, dict[str, str]]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body in one packet, or Nagle's algorithm makes each answer take 40 ms
    server: ScriptedServer

    def _handle(self) -> None:
        given = self.rfile.read(int(self.headers.get("content-length") or 0))
        self.server.seen.append((self.command, self.path, dict(self.headers)))
        found = self.server.answers.get(urlsplit(self.path).path, (404, {"message": "not found"}))
        if isinstance(found, deque):
            found = found.popleft() if len(found) > 1 else found[0]
        if callable(found):
            found = found(self.command, self.path, json.loads(given) if given else None)
        if found is None:
            self.close_connection = True
            return
        status, body = found if isinstance(found, tuple) else (200, found)
        text = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    do_GET = do_POST = _handle  # noqa: N815

    def log_message(self, format, *args):  # noqa: A002 - the base class names it so
        pass


@contextmanager
def scripted(answers: Mapping[str, Any]) -> Iterator[ScriptedServer]:
    """Run a server until the block ends."""
    server = ScriptedServer(answers)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join(5)
        server.server_close()
