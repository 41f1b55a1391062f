"""A real HTTP server on loopback, in a thread, whose answers tests can set."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else the second packet of an answer waits 40 ms for the client's delayed ACK
    server: AnsweringServer

    def log_message(self, *_):
        pass

    def _handle(self):
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        server = self.server
        with server.lock:
            server.seen.append((self.command, self.path, dict(self.headers), json.loads(body) if body else None))
            number = len(server.seen)
        time.sleep(server.delay)
        if self.path == "/drop":
            self.close_connection = True
            return
        if self.path == "/hang":
            server.closing.wait(10)
        status, answer = self._answer(self.command, self.path, body, number)
        text = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(text)

    do_GET = do_POST = do_DELETE = do_HEAD = _handle  # noqa: N815

    def _answer(self, method: str, path: str, body: bytes, number: int) -> tuple[int, object]:
        server = self.server
        if path == "/error" or (path == "/flaky" and number % 4 == 0):
            return 500, {"detail": "out of order"}
        if path == "/text":
            return 200, b"plain words"
        if path == "/items" and method == "POST":
            server.items[7] = json.loads(body)
            return 201, {"id": 7, "links": [{"self": "/items/7"}]}
        if path.startswith("/items/"):
            known = path == "/items/7" and 7 in server.items
            if known and method == "DELETE":
                del server.items[7]
                return 200, {}
            return (200, server.items[7]) if known else (404, {})
        return 200, {"status": "ok", "checks": [{"name": "database", "latency": 3.5}], "path": path}


class AnsweringServer(ThreadingHTTPServer):
    """Answers; ``delay`` is in seconds, ``seen`` holds method, path, headers and JSON body of each request."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.delay = 0.0
        self.seen: list[tuple[str, str, dict[str, str], object]] = []
        self.items: dict[int, object] = {}
        self.lock = threading.Lock()
        self.closing = threading.Event()

    def handle_error(self, request, client_address):
        if not isinstance(sys.exception(), ConnectionError):  # a client that did not wait is what some tests are about
            super().handle_error(request, client_address)

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}"


@contextmanager
def answering() -> Iterator[AnsweringServer]:
    """Run a server until the block ends."""
    server = AnsweringServer()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.closing.set()
        server.shutdown()
        thread.join(5)
        server.server_close()
