"""What workflow-api's release file looks at in operation fails where load, containers or what watches are wrong."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tasks.checking import measure
from tasks.domain.outcome import Reading
from tasks.domain.ports import World
from tasks.domain.target import Target
from tasks.spec import loading
from tests.certificates import Authority, tls_server
from tests.engines import IMAGE, clear, docker
from tests.looks import F, P, U
from tests.scripted import scripted
from tests.services import free_port
from tests.systems import SYSTEMS

FILE = loading.load(SYSTEMS / "workflow-api" / "release.yaml")


@pytest.fixture
def target(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Target:
    for name in ("WORKFLOW_API_TOKEN", "GRAFANA_TOKEN"):
        monkeypatch.setenv(name, "a-token-of-the-tests")
    return Target(world, "workflow-api", "v2", root=tmp_path, release_dir=tmp_path)


def look(target: Target, name: str, **there: Any) -> Reading:
    """Look as the release file says, at what is somewhere else here."""
    seen = measure(FILE.check(name).model_copy(update=there), target).reading
    print(f"{name}: {seen.outcome}: {seen.seen}")  # noqa: T201 - shown when a test fails
    return seen


@contextmanager
def answering(after: float, status: int = 200) -> Iterator[str]:
    """Answer each request some seconds after it came."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            time.sleep(after)
            self.send_response(status)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


LOAD = "95 % of the requests are answered within 200 ms"


def test_answers_that_come_late_or_not_at_all_are_found(target):
    with answering(0.25) as slow:
        seen = look(target.at(base_url=slow), LOAD, requests=20, concurrency=10)
        assert (seen.outcome, "p95" in seen.seen) == (F, True)
    with answering(0, status=503) as broken:
        assert look(target.at(base_url=broken), LOAD, p95=10.0).outcome is F
    with answering(0) as sound:
        assert look(target.at(base_url=sound), LOAD, p95=10.0).outcome is P


MEMORY = "the containers' memory does not grow"
API = "workflow-api-main-api"


def started(engine: str, name: str, kept: int) -> None:
    """Start a container with 64 MB that keeps so many of them."""
    script = f"import time; kept = b'x' * ({kept} << 20); print('kept', flush=True); time.sleep(600)"
    words = ("run", "-d", "--network", "host", "--memory", "64m", "--name", name, IMAGE)
    docker(engine, *words, "/usr/bin/python3", "-c", script)
    for _ in range(300):
        if "kept" in docker(engine, "logs", name):
            return
        time.sleep(0.1)
    raise AssertionError(docker(engine, "logs", name))


@pytest.fixture
def containers(docker_engine: str) -> Iterator[str]:
    for name in (API, "workflow-api-main-executor"):
        started(docker_engine, name, 1)
    yield docker_engine
    clear(docker_engine)


def test_containers_whose_memory_grows_or_runs_out_are_found(target, containers):
    check: Any = FILE.check(MEMORY).model_copy(update={"engine": containers})
    assert check.look(target).outcome is U, "there is nothing to compare with"
    at = target.at(baseline={MEMORY: check.record(target)})
    assert look(at, MEMORY, engine=containers).outcome is P
    for kept, words in ((20, "memory of"), (50, "uses of its memory")):
        docker(containers, "rm", "-f", API)
        started(containers, API, kept)
        seen = look(at, MEMORY, engine=containers)
        assert seen.outcome is F
        assert words in seen.seen
    docker(containers, "rm", "-f", API)
    assert look(at, MEMORY, engine=containers).outcome is U


POOL = "no request has waited in vain for a connection"


@pytest.mark.parametrize(("exhausted", "outcome"), [("0", P), ("3", F), (None, U)])
def test_a_pool_that_does_not_suffice_is_found(target, exhausted, outcome):
    told = "db_pool_connections_in_use 2\n" + (f"db_pool_exhausted_total {exhausted}\n" if exhausted else "")
    with scripted({"/metrics": told}) as service:
        assert look(target.at(base_url=service.url), POOL).outcome is outcome


BALANCER = "the load balancer speaks TLS"


def test_a_load_balancer_whose_certificate_nobody_trusts_is_found(target, tmp_path):
    (tmp_path / "other").mkdir()
    authority, other = Authority(tmp_path), Authority(tmp_path / "other")
    sound = authority.issue("workflow.example.com")
    expired = authority.issue("workflow.example.com", start=timedelta(days=-90), end=timedelta(days=-1))
    wrong = authority.issue("other.example.com")
    for issued, trusted, outcome in (
        (sound, authority, P), (expired, authority, F), (wrong, authority, F), (sound, other, F),
    ):  # fmt: skip
        with tls_server(issued) as port:
            there = {"address": f"127.0.0.1:{port}", "server_name": "workflow.example.com", "ca": str(trusted.ca)}
            assert look(target, BALANCER, **there).outcome is outcome
    with answering(0) as plain:
        there |= {"address": plain.removeprefix("http://")}
        assert look(target, BALANCER, **there).outcome is F
    assert look(target, BALANCER, **there | {"address": f"127.0.0.1:{free_port()}"}).outcome is U


CLOSED = "from outside neither the API, nor the database, nor Kafka can be reached"


def test_a_port_that_is_open_to_the_outside_is_found(target):
    with socket.create_server(("127.0.0.1", 0)) as balancer, socket.create_server(("127.0.0.1", 0)) as database:
        control = f"127.0.0.1:{balancer.getsockname()[1]}"
        reached = f"127.0.0.1:{database.getsockname()[1]}"
        shut = tuple(f"127.0.0.1:{free_port()}" for _ in range(3))
        assert look(target, CLOSED, addresses=shut, control=control).outcome is P
        found = look(target, CLOSED, addresses=(*shut[:2], reached), control=control)
        assert (found.outcome, reached in found.seen) == (F, True)


DASHBOARD = "Grafana's dashboard shows data"


@pytest.mark.parametrize(
    ("path", "answer", "outcome"),
    [
        ("", None, P),
        ("/api/ds/query", {"results": {"A": {"frames": [{"data": {"values": [[], []]}}]}}}, F),
        ("/api/ds/query", {"results": {"A": {"frames": [{"data": {"values": [[1, 2], [None, None]]}}]}}}, F),
        ("/api/dashboards/uid/workflow-api", (404, {"message": "Dashboard not found"}), F),
        ("/api/dashboards/uid/workflow-api", {"dashboard": {"title": "Workflow API", "panels": []}}, F),
        ("/api/datasources/uid/prometheus/health", (400, {"status": "ERROR", "message": "no route"}), F),
        ("/api/ds/query", (403, {"message": "no right"}), U),
    ],
)
def test_a_dashboard_without_data_is_found(target, path, answer, outcome):
    panel = {"id": 1, "title": "Requests", "targets": [{"refId": "A", "expr": "http_requests_total"}]}
    answers = {
        "/api/health": {"database": "ok", "version": "11.0.0"},
        "/api/dashboards/uid/workflow-api": {"dashboard": {"title": "Workflow API", "panels": [panel]}},
        "/api/datasources/uid/prometheus": {"uid": "prometheus"},
        "/api/datasources/uid/prometheus/health": {"status": "OK", "message": "works"},
        "/api/ds/query": {"results": {"A": {"frames": [{"data": {"values": [[1, 2], [3, 4]]}}]}}},
    }
    with scripted(answers | ({path: answer} if path else {})) as grafana:
        assert look(target, DASHBOARD, url=grafana.url).outcome is outcome
