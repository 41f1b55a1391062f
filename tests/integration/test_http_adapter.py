"""HTTP against real servers on loopback, well and badly behaved."""

from __future__ import annotations

import gzip
import json
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tasks.adapters import http as adapter
from tasks.adapters.http import HttpxHttp, shown
from tasks.domain.errors import ConnectionLost, OutsideError, TimedOut, Unreachable, UserError


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_): ...

    def answer(self, body: bytes, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        path = self.path.partition("?")[0]
        if path == "/slow":
            time.sleep(1.5)
        if path == "/trickle":
            self.send_response(200)
            self.send_header("Content-Length", "100")
            self.end_headers()
            with suppress(OSError):
                for _ in range(40):
                    self.wfile.write(b"x")
                    time.sleep(0.1)
            return
        if path == "/away":
            self.answer(b"", 302, Location="/port")
        elif path == "/loop":
            self.answer(b"", 302, Location="/loop")
        elif path == "/zip":
            self.answer(gzip.compress(b"y" * 1000), Content_Encoding="gzip")
        elif path == "/big":
            self.answer(b"z" * 2000)
        elif path == "/fail":
            self.answer(b"trouble", 503, Retry_After="7")
        elif path == "/cookie":
            self.answer((self.headers["Cookie"] or "none").encode(), Set_Cookie="session=abc")
        else:
            self.answer(str(self.client_address[1]).encode(), X_Name="Value")

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"] or 0)).decode()
        self.answer(
            json.dumps({"type": self.headers["Content-Type"], "x": self.headers["X-Own"], "body": body}).encode()
        )


@pytest.fixture
def server() -> Iterator[str]:
    running = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    running.daemon_threads = True
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield f"http://127.0.0.1:{running.server_port}"
    running.shutdown()
    running.server_close()
    thread.join()


@pytest.fixture
def http() -> Iterator[HttpxHttp]:
    adapter_under_test = HttpxHttp()
    yield adapter_under_test
    adapter_under_test.close()


@contextmanager
def raw_server(*behaviours: Callable[[socket.socket], None]) -> Iterator[str]:
    """Serve one connection after the other, each with its own behaviour."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()

        def serve() -> None:
            for behave in behaviours:
                with suppress(OSError):
                    connection, _ = listener.accept()
                    with connection:
                        behave(connection)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        # Wakes a server that still waits for a connection.
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        thread.join(5)


def answers(connection: socket.socket) -> None:
    connection.recv(65536)
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")


def hangs_up(connection: socket.socket) -> None:
    connection.recv(65536)


def resets(connection: socket.socket) -> None:
    connection.recv(65536)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def answers_then_hangs_up_on_the_next(connection: socket.socket) -> None:
    answers(connection)
    hangs_up(connection)


def answers_then_breaks_off_the_next(connection: socket.socket) -> None:
    answers(connection)
    breaks_off(connection)


def breaks_off(connection: socket.socket) -> None:
    connection.recv(65536)
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this")


def speaks_nonsense(connection: socket.socket) -> None:
    connection.recv(65536)
    connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")


def test_an_answer_comes_back_with_lower_case_headers_and_its_duration(http, server):
    answer = http.request("GET", f"{server}/port")
    assert (answer.status, answer.headers["x-name"]) == (200, "Value")
    assert 0 < answer.elapsed < 5


def test_a_bad_status_is_an_answer_not_an_error(http, server):
    answer = http.request("GET", f"{server}/fail")
    assert (answer.status, answer.body, answer.headers["retry-after"]) == (503, b"trouble", "7")


def test_json_content_and_headers_are_sent(http, server):
    sent = json.loads(http.request("POST", server, json={"a": 1}, headers={"X-Own": "y"}).body)
    assert sent["type"] == "application/json"
    assert json.loads(sent["body"]) == {"a": 1}
    assert sent["x"] == "y"
    assert json.loads(http.request("POST", server, content=b"raw").body)["body"] == "raw"


def test_connections_are_kept_alive_unless_a_fresh_one_is_asked_for(http, server):
    first, second = (http.request("GET", f"{server}/port").body for _ in range(2))
    assert first == second
    assert http.request("GET", f"{server}/port", fresh=True).body != first
    assert http.request("GET", f"{server}/port").body == first


def test_redirects_are_followed_only_when_asked(http, server):
    assert http.request("GET", f"{server}/away").status == 302
    assert http.request("GET", f"{server}/away", follow_redirects=True).status == 200
    with pytest.raises(OutsideError, match="redirects"):
        http.request("GET", f"{server}/loop", follow_redirects=True)


def test_cookies_are_not_carried_from_one_look_to_the_next(http, server):
    http.request("GET", f"{server}/cookie")
    assert http.request("GET", f"{server}/cookie").body == b"none"


def test_a_compressed_answer_is_unpacked(http, server):
    assert http.request("GET", f"{server}/zip").body == b"y" * 1000


def test_an_answer_that_is_too_large_is_refused(http, server, monkeypatch):
    monkeypatch.setattr(adapter, "LARGEST_BODY", 1000)
    with pytest.raises(OutsideError, match="too large"):
        http.request("GET", f"{server}/big")
    assert http.request("GET", f"{server}/port").status == 200


def test_the_duration_goes_to_the_end_of_the_body(http, server):
    with pytest.raises(TimedOut, match="did not end in time"):
        http.request("GET", f"{server}/trickle", timeout=0.5)


def test_no_answer_in_time_is_named_so(http, server):
    start = time.monotonic()
    with pytest.raises(TimedOut, match="no answer after"):
        http.request("GET", f"{server}/slow", timeout=0.2)
    assert time.monotonic() - start < 1.4


def test_nobody_listening_is_unreachable(http):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://app:pw@127.0.0.1:{unused.getsockname()[1]}/x?token=t0k3n"
        with pytest.raises(Unreachable) as caught:
            http.request("GET", url)
    assert "pw" not in str(caught.value)
    assert "t0k3n" not in str(caught.value)
    assert "/x?…" in str(caught.value)


def test_a_name_that_does_not_exist_is_unreachable(http):
    with pytest.raises(Unreachable):
        http.request("GET", "http://no-such-host.invalid/")


@pytest.mark.parametrize("behave", [hangs_up, resets, breaks_off, speaks_nonsense])
def test_a_server_that_breaks_a_new_connection_is_lost_and_not_asked_again(http, behave):
    with raw_server(behave, answers) as url, pytest.raises(ConnectionLost, match="connection broke"):
        http.request("GET", url)


def test_a_get_on_a_connection_gone_stale_is_sent_once_more(http):
    with raw_server(answers_then_hangs_up_on_the_next, answers) as url:
        assert http.request("GET", url).body == b"ok"
        assert http.request("GET", url).body == b"ok"


def test_a_server_that_breaks_the_second_try_too_is_lost(http):
    with raw_server(answers_then_hangs_up_on_the_next, hangs_up, answers) as url:
        http.request("GET", url)
        with pytest.raises(ConnectionLost):
            http.request("GET", url)


def test_a_post_is_never_sent_twice(http):
    with raw_server(answers_then_hangs_up_on_the_next, answers) as url:
        http.request("GET", url)
        with pytest.raises(ConnectionLost):
            http.request("POST", url, content=b"order")


def test_an_answer_that_broke_off_is_not_asked_for_again(http):
    with raw_server(answers_then_breaks_off_the_next, answers) as url:
        http.request("GET", url)
        with pytest.raises(ConnectionLost):
            http.request("GET", url)


@pytest.mark.parametrize("url", ["", "no-scheme", "ftp://127.0.0.1/x", "http://[::1", "http://127.0.0.1:99999/"])
def test_a_url_that_cannot_be_asked_is_the_users_error(http, url):
    with pytest.raises(UserError, match="cannot be sent"):
        http.request("GET", url)


def test_a_header_that_cannot_be_sent_is_the_users_error(http, server):
    with pytest.raises(UserError, match="cannot be sent"):
        http.request("GET", server, headers={"X": "a\r\nInjected: b"})


def test_the_environments_proxy_is_not_used(server, monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    client = HttpxHttp()
    assert client.request("GET", f"{server}/port").status == 200
    client.close()


def test_many_threads_share_the_client(http, server):
    with ThreadPoolExecutor(32) as pool:
        statuses = list(pool.map(lambda _: http.request("GET", f"{server}/port").status, range(200)))
    assert statuses == [200] * 200


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://u:p@host:8443/a/b?x=1#f", "https://host:8443/a/b?…"),
        ("http://host/", "http://host/"),
        ("http://[::1", "a URL that cannot be read"),
    ],
)
def test_a_url_is_shown_without_what_may_be_secret(url, expected):
    assert shown(url) == expected
