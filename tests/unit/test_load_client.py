"""The load client counts what really happens: each failure once, by version, on time, and without a second try."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from examples.client import LoadClient
from examples.load_counts import Answer, Counts, percentiles

TOKEN = "tester.secret"


def no_fault(_: int) -> str:
    return ""


def each(n: int, fault: str) -> Callable[[int], str]:
    return lambda number: fault if number % n == 0 else ""


class Service:
    """A real HTTP server that answers as the stand-in does, and misbehaves as ``fault`` says for each n-th request."""

    def __init__(self) -> None:
        self.requests: Counter[str] = Counter()
        self.connections = 0
        self.tokens: set[str | None] = set()
        self.fault: Callable[[int], str] = no_fault
        self._lock = threading.Lock()
        service = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1

            def setup(self) -> None:
                super().setup()
                with service._lock:
                    service.connections += 1

            def do_GET(self):
                self.rfile.read(int(self.headers.get("Content-Length", "0")))
                with service._lock:
                    service.requests[f"{self.command} {self.path}"] += 1
                    service.tokens.add(self.headers.get("Authorization"))
                    number = service.requests.total()
                fault = service.fault(number)
                if fault == "hang up":
                    self.close_connection = True
                    return
                if fault == "hang":
                    time.sleep(3)
                if fault == "slow":
                    time.sleep(0.3)
                status = int(fault) if fault.isdigit() else 201 if self.command == "POST" else 200
                body = json.dumps({"id": "7", "tasks": []}).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.send_header("x-version", "v2" if number > 20 else "v1")
                self.end_headers()
                self.wfile.write(body)

            do_POST = do_PUT = do_GET  # noqa: N815 - the base class looks for these names

            def log_message(self, format, *args):  # noqa: A002 - the base class names it so
                pass

        class Server(ThreadingHTTPServer):
            request_queue_size = 128
            daemon_threads = True

            def handle_error(self, request, client_address):
                pass

        self.server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()


@pytest.fixture
def service():
    service = Service()
    yield service
    service.server.shutdown()
    service.server.server_close()


def run(service: Service, tmp_path: Path, *, until: int = 50, **more: Any) -> tuple[dict[str, Any], list[Any]]:
    out = tmp_path / "load.jsonl"
    with LoadClient(service.url, 100, TOKEN, out=out, **more) as client:
        deadline = time.monotonic() + 20
        while service.requests.total() < until and time.monotonic() < deadline:
            time.sleep(0.02)
    return client.summary, [json.loads(line) for line in out.read_text().splitlines()]


def test_all_that_is_sent_is_answered_and_counted(service, tmp_path):
    summary, _ = run(service, tmp_path)
    assert summary["sent"] == service.requests.total() >= 50
    assert (summary["ok"], summary["failed"], summary["reasons"]) == (summary["sent"], 0, {})
    assert summary["p50_ms"] > 0
    assert summary["first_failure"] is None
    assert service.tokens == {f"Bearer {TOKEN}"}


def test_each_server_error_is_counted_once_and_never_tried_again(service, tmp_path):
    service.fault = each(5, "500")
    summary, _ = run(service, tmp_path)
    assert summary["sent"] == service.requests.total()
    assert summary["failed"] == service.requests.total() // 5
    assert sum(summary["reasons"].values()) == summary["failed"]
    assert all(reason.endswith(": 500") for reason in summary["reasons"])


def test_a_connection_that_is_hung_up_is_a_failure_of_no_version(service, tmp_path):
    service.fault = each(10, "hang up")
    summary, _ = run(service, tmp_path)
    assert summary["failed"] == summary["versions"]["none"]["failed"] == service.requests.total() // 10
    assert all("RemoteProtocolError" in reason for reason in summary["reasons"])


def test_an_unexpected_client_error_is_a_failure(service, tmp_path):
    service.fault = lambda number: "404" if number == 5 else ""
    summary, _ = run(service, tmp_path)
    assert summary["failed"] == 1
    assert [reason.split(": ")[1] for reason in summary["reasons"]] == ["404"]


def test_a_request_without_an_answer_in_time_is_a_timeout(service, tmp_path):
    service.fault = lambda number: "hang" if number == 10 else ""
    summary, _ = run(service, tmp_path, timeout=2.0)
    assert summary["sent"] == summary["ok"] + 1
    assert [reason.split(": ")[1] for reason in summary["reasons"]] == ["timeout"]


def test_nobody_listening_is_a_failure_of_each_request(tmp_path):
    service = Service()
    service.server.shutdown()
    service.server.server_close()
    out = tmp_path / "load.jsonl"
    with LoadClient(service.url, 50, TOKEN, out=out) as client:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            lines = out.read_text().splitlines() if out.exists() else []
            if lines and json.loads(lines[-1])["total"]["failed"] > 5:
                break
            time.sleep(0.1)
    assert client.summary["failed"] == client.summary["sent"] > 5
    assert client.summary["p50_ms"] is None
    assert client.summary["first_failure"] < client.summary["last_failure"]


def test_slow_answers_do_not_hold_up_the_schedule(service, tmp_path):
    service.fault = each(1, "slow")
    started = time.monotonic()
    summary, _ = run(service, tmp_path, until=150)
    assert summary["p50_ms"] >= 300
    # 150 answers of 0.3 s each, one after the other, would take 45 s.
    assert time.monotonic() - started < 15


def test_answers_are_told_apart_by_the_version_that_gave_them(service, tmp_path):
    summary, _ = run(service, tmp_path)
    assert summary["versions"]["v1"]["ok"] == 20
    assert summary["versions"]["v2"]["ok"] == summary["ok"] - 20


def test_half_of_the_requests_open_a_connection_of_their_own(service, tmp_path):
    summary, _ = run(service, tmp_path, until=100)
    assert summary["sent"] / 2 <= service.connections < summary["sent"]


def test_the_lines_of_the_seconds_add_up_to_the_summary(service, tmp_path):
    service.fault = each(7, "503")
    summary, lines = run(service, tmp_path, until=200)
    assert len(lines) >= 2
    for name in ("sent", "ok", "failed", "late"):
        assert sum(line[name] for line in lines) == summary[name] == lines[-1]["total"][name]
    assert lines[-1]["in_flight"] == 0


def test_reads_and_writes_are_mixed(service, tmp_path):
    run(service, tmp_path, until=150)
    assert {"GET /api/tasks", "POST /api/tasks", "GET /api/tasks/7", "PUT /api/tasks/7/status"} == set(service.requests)
    assert max(service.requests, key=lambda name: service.requests[name]) == "GET /api/tasks"


def test_a_client_that_cannot_start_says_so(tmp_path):
    client = LoadClient("http://127.0.0.1:9", 0, TOKEN).start()
    with pytest.raises(RuntimeError, match="no summary"):
        client.stop()


def test_percentiles_are_of_the_good_answers_alone():
    counts = Counts()
    for latency, reason in ((0.01, ""), (0.02, ""), (9.0, "timeout")):
        counts.sent(late=False)
        counts.answered(Answer(latency, "v1", reason, "list"))
    assert counts.summary()["max_ms"] == 20.0
    assert counts.summary()["failed"] == 1


def test_percentiles_name_a_value_that_occurred():
    assert percentiles([i / 1000 for i in range(1, 101)]) == {"p50_ms": 50, "p95_ms": 95, "p99_ms": 99, "max_ms": 100}
    assert percentiles([]) == dict.fromkeys(("p50_ms", "p95_ms", "p99_ms", "max_ms"))


def test_late_requests_are_counted_as_late():
    counts = Counts()
    counts.sent(late=True)
    counts.sent(late=False)
    assert counts.summary()["late"] == 1
