"""A small real HTTP service with faults on a switch, and clients that count what they lose.

``python services.py PORT`` answers with its ``VERSION``; ``FAULT`` is one of ``exit`` (ends at once), ``never_ready``
(``/health`` says 503), ``ignore_term`` (does not end on SIGTERM), ``hang`` (takes requests and never answers),
``elsewhere`` (listens on another port than it was given), ``flaps`` (``/health`` says 200 and 503 in turn), ``tires``
(``/health`` says 503 after some answers), ``errors`` (``/work`` says 500) or ``slow`` (``/work`` takes long). ``BIND``
is the address on which it listens.
"""

from __future__ import annotations

import http.client
import itertools
import json
import os
import signal
import socket
import sys
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

SCRIPT = Path(__file__).resolve()


_HEALTH = itertools.count()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body in one packet, or Nagle's algorithm makes each answer take 40 ms

    def do_GET(self):
        fault = os.environ.get("FAULT")
        status = 200
        if self.path == "/health":
            number = next(_HEALTH)
            sick = {"never_ready": True, "flaps": number % 2 == 1, "tires": number > 20}
            status = 503 if sick.get(fault or "") else 200
        elif self.path == "/work":
            status = 500 if fault == "errors" else 200
            time.sleep(0.2 if fault == "slow" else 0)
        if self.path.startswith("/slow") or fault == "hang":
            time.sleep(1.0 if fault != "hang" else 3600)
        body = json.dumps(dict(os.environ)) if self.path == "/env" else os.environ.get("VERSION", "")
        self._answer(status, body.encode())

    def do_POST(self):
        self.rfile.read(int(self.headers.get("Content-Length", "0")))
        self._answer(200, os.environ.get("VERSION", "").encode())

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format, *args):  # noqa: A002 - the base class names it so
        pass


class _Server(ThreadingHTTPServer):
    request_queue_size = 128
    daemon_threads = True


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def serve(port: int) -> None:
    _say(f"version {os.environ.get('VERSION')} starts on {port}")
    if os.environ.get("FAULT") == "exit":
        _say(f"cannot start: bad password in {os.environ.get('DSN', 'no DSN')}")
        sys.exit(3)
    at = 0 if os.environ.get("FAULT") == "elsewhere" else port
    server = _Server((os.environ.get("BIND", "127.0.0.1"), at), _Handler)
    ignore = os.environ.get("FAULT") == "ignore_term"
    signal.signal(
        signal.SIGTERM, lambda *_: None if ignore else threading.Thread(target=server.shutdown, daemon=True).start()
    )
    server.serve_forever(poll_interval=0.05)


def free_port() -> int:
    """Return a port that nothing listens on, below the range from which the system takes ports for clients."""
    for _ in range(200):
        port = 10000 + int.from_bytes(os.urandom(2)) % 20000
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise OSError("no free port")


class Clients:
    """Threads that send requests all the time, half of them over kept-alive connections, and count the answers.

    ``resend`` lets a kept-alive client send once more when the connection turns out closed before any answer, as
    RFC 9112 (9.3.1) has clients do; without it, that counts as a loss. With a ``path`` they only get that.
    """

    def __init__(self, port: int, *, threads: int = 4, resend: bool = False, path: str = "") -> None:
        self.port, self.resend, self.path = port, resend, path
        self.answers: Counter[str] = Counter()
        self.lost: list[str] = []
        self.resent = 0
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self.threads = [threading.Thread(target=self._run, args=(i % 2 == 0, i)) for i in range(threads)]

    def __enter__(self) -> Clients:
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self.threads:
            thread.join()

    @property
    def total(self) -> int:
        return sum(self.answers.values()) + len(self.lost)

    def until(self, total: int, within: float = 60.0) -> None:
        """Wait until so many requests were made."""
        end = time.monotonic() + within
        while self.total < total and time.monotonic() < end:
            time.sleep(0.02)

    def _run(self, keep_alive: bool, number: int) -> None:
        connection: http.client.HTTPConnection | None = None
        used = False
        while not self._stop.is_set():
            connection = connection or http.client.HTTPConnection("127.0.0.1", self.port, timeout=15)
            try:
                answer, body = self._ask(connection, number, keep_alive=keep_alive)
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                connection = None
                if used and self.resend:
                    used = False
                    with self._lock:
                        self.resent += 1
                    continue
                with self._lock:
                    self.lost.append(repr(error))
                continue
            used = True
            with self._lock:
                if answer.status == 200:
                    self.answers[body.decode()] += 1
                else:
                    self.lost.append(f"{answer.status} {body[:200]!r}")
            if not keep_alive or answer.will_close:
                connection.close()
                connection, used = None, False
            self._stop.wait(0.01)

    def _ask(
        self, connection: http.client.HTTPConnection, number: int, *, keep_alive: bool
    ) -> tuple[http.client.HTTPResponse, bytes]:
        if self.path:
            connection.request("GET", self.path)
        elif number % 4 < 2 or (self.resend and keep_alive):  # what is sent again must be safe to send again
            connection.request("GET", "/")
        else:
            connection.request("POST", "/", body=b"x" * 100)
        answer = connection.getresponse()
        return answer, answer.read()


if __name__ == "__main__":
    serve(int(sys.argv[1]))
