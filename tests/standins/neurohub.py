"""F2X NeuroHub on real parts: a server that counts statements, a Git repository, a mail server, a forge, and Slack."""

from __future__ import annotations

import json
import re
import shutil
import socketserver
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from examples.neurohub import build, data
from tasks.adapters.postgres import Postgres
from tasks.domain.ports import RunningServer
from tests.gits import run_git
from tests.observed import counting_server
from tests.services import free_port
from tests.systems import SYSTEMS, System, new_database

LOTS = 3_300
"""How many lots there are by default, which make 105,600 rows."""
_WIDE = "30s"
PULL = [{"title": "Refactor the database", "body": "- [x] migrations\n- [x] services\n- [ ] deployment", "number": 7}]
REVIEWS = [{"state": "APPROVED", "user": {"login": "ben"}}]


@contextmanager
def stand_in(server: RunningServer, *, lots: int = LOTS) -> Iterator[System]:
    """Set the system up with versions v1 to v3 in Git, of which v1 serves, and the data of v1.

    The ledger is on ``server``, and production on one that counts statements.
    """
    home = Path(tempfile.mkdtemp(prefix="golive-test-"))
    home.chmod(0o755)  # as root, PostgreSQL runs under another account
    with ExitStack() as parts:
        parts.callback(shutil.rmtree, home, ignore_errors=True)
        counting = _Server(parts.enter_context(counting_server()))
        dsn, staging = new_database(counting, "F2X_NeuroHub_*"), new_database(counting, "staging_*")
        with Postgres().session(dsn) as session:
            session.execute("CREATE EXTENSION pg_stat_statements")
        data.create(dsn, lots=lots)
        port = free_port()
        variables = {
            "NEUROHUB_DSN": dsn,
            "NEUROHUB_STAGING_DSN": staging,
            "NEUROHUB_REPOSITORY": str(repository(home / "repository")),
            "NEUROHUB_FORGE": parts.enter_context(serving(_answers)),
            "NEUROHUB_FORGE_TOKEN": "forge-token-1234",
            "NEUROHUB_PULL": "7",
            "NEUROHUB_SMTP": parts.enter_context(mail_server()),
            "SLACK_BOT_TOKEN": "xoxb-none-1234",
        }
        system = System.of(home, "neurohub", server, dsn, variables, _changes(port, variables, counting, lots))
        parts.callback(system.close)
        system.deploy_unsigned("v1")
        yield system


@dataclass(frozen=True)
class _Server:
    """The server of a DSN."""

    leads_to: str

    def dsn(self, database: str = "postgres") -> str:
        return Postgres().with_database(self.leads_to, database)


def repository(directory: Path) -> Path:
    """Make a Git repository with the versions as commits of ``main`` and tags, the code below ``backend``."""
    directory.mkdir(parents=True)
    run_git(directory, "init", "--quiet", "--initial-branch=main")
    trees = directory.with_name("trees")
    # The third goes wrong and is built upon by nothing.
    for version in ("v1", "v2", "v3"):
        shutil.rmtree(directory / "backend", ignore_errors=True)
        build.build(trees, [version])
        shutil.copytree(trees / version, directory / "backend")
        run_git(directory, "add", "--all")
        run_git(directory, "commit", "--quiet", "--message", version)
        run_git(directory, "tag", version)
    run_git(directory, "branch", "refactor/database-optimization", "v2")
    return directory


def _changes(port: int, variables: Mapping[str, str], counting: _Server, lots: int) -> dict[str, Any]:
    """Return what differs from the real release file: addresses, and limits that a slow machine would not keep."""
    text = (SYSTEMS / "neurohub" / "release.yaml").read_text(encoding="utf-8")
    with Postgres().session(counting.dsn()) as session:
        log = Path(session.query("SHOW data_directory")[0]["data_directory"]).parent / "server.log"
    for old, new in (
        ("--port 8000", f"--port {port}"),
        ("https://slack.com/api/auth.test", f"{variables['NEUROHUB_FORGE']}/auth.test"),
        ("/var/log/postgresql/postgresql.log", str(log)),
        ("path: /var/lib/postgresql", "path: /"),
        ("free_share: 20%", "free_share: 1%"),
        ("max_busy: 80%, sample: 5s", "max_busy: 100%, sample: 100ms"),
        ("neurohub_slow_queries_total: {max: 5}", "neurohub_slow_queries_total: {min: 0}"),
    ):
        assert old in text
        text = text.replace(old, new)
    text = re.sub(r"(p50|p95|within): \d+ms", rf"\1: {_WIDE}", text)
    file = YAML(typ="safe").load(text)
    checks: dict[str, list[dict[str, Any]]] = file["checks"]
    for check in (one for phase in checks.values() for one in phase):
        match check["kind"]:
            case "queries_per_request":
                check |= {"requests": 3, "control": "200ms"}
            case "baseline":
                # Of the old version a whole page takes 201 queries, and a baseline 300 pages.
                check |= {"url": check["url"].replace("limit=100", "limit=1"), "floor": _WIDE}
            case "load":
                check |= {"requests": 30}
            case "http" if check["name"] == "API answers":
                check |= {"url": check["url"].replace("limit=20", "limit=1")}
            case "explain":
                check |= {"min_rows": min(10_000, lots * 25)}
            case "sql" if "100,000 rows" in check["name"]:
                check |= {"at_least": min(100_000, lots * 31)}
    return {
        "base_url": f"http://127.0.0.1:{port}",
        "rollout.port": port,
        "rollout.ready": {"path": "/health", "within": "60s", "every": "50ms"},
        "migration.limits": {"duration": "120s", "lock": "60s", "wait": "100ms"},
        "rehearsal.under_load.window": "200ms",
        "window": {},
        "notify": [{"kind": "console"}],
        "checks": checks,
        "checklist.timings": [timing | {"at_most": "1h"} for timing in file["checklist"]["timings"]],
    }


def _answers(path: str) -> Any:
    if path.startswith("/auth.test"):
        return {"ok": True}
    return REVIEWS if path.startswith("/pulls/7/reviews") else PULL if path.startswith("/pulls?") else {}


@contextmanager
def serving(answer: Callable[[str], Any]) -> Iterator[str]:
    """Serve JSON on loopback, as the forge and Slack would, and give the address."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

        def do_GET(self) -> None:
            body = json.dumps(answer(self.path)).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET  # noqa: N815

    with _in_thread(ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as port:
        yield f"http://127.0.0.1:{port}"


@contextmanager
def mail_server(*, refuses: bool = False) -> Iterator[str]:
    """Run a mail server that takes every message, or refuses every recipient, and give host and port."""

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.wfile.write(b"220 here\r\n")
            while line := self.rfile.readline():
                word = line.split()[0].upper()
                if word == b"DATA":
                    self.wfile.write(b"354 go on\r\n")
                    while self.rfile.readline() not in {b".\r\n", b""}:
                        pass
                answer = b"550 no" if refuses and word == b"RCPT" else b"221 bye" if word == b"QUIT" else b"250 ok"
                self.wfile.write(answer + b"\r\n")
                if word == b"QUIT":
                    return

    with _in_thread(socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)) as port:
        yield f"127.0.0.1:{port}"


@contextmanager
def _in_thread(server: Any) -> Iterator[int]:
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
