"""A server that counts statements, and a service that asks it as many queries as a request says."""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psycopg

from tasks.adapters.pg_account import server_account
from tasks.adapters.pg_cluster import Cluster
from tests.stanza import server_programs

_SETTINGS = {"fsync": "off", "shared_preload_libraries": "pg_stat_statements", "autovacuum": "off"}


@contextmanager
def counting_server(settings: Mapping[str, str] | None = None) -> Iterator[str]:
    """Run a server of the system's packages, which has pg_stat_statements, and give the DSN of a database in it."""
    directory = Path(tempfile.mkdtemp(prefix="golive-test-"))
    directory.chmod(0o755)
    cluster = Cluster(directory / "server", server_programs(), server_account())
    try:
        cluster.make_directory()
        cluster.create(_SETTINGS | dict(settings or {}), sync=False)
        cluster.start()
        with psycopg.connect(cluster.dsn("postgres"), autocommit=True) as conn:
            conn.execute("CREATE EXTENSION pg_stat_statements")
        yield cluster.dsn("postgres")
    finally:
        cluster.stop("immediate")
        shutil.rmtree(directory, ignore_errors=True)


class _Service(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, dsn: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.conn = psycopg.connect(dsn, autocommit=True)
        self.lock = threading.Lock()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Service

    def log_message(self, *_):
        pass

    def do_GET(self):
        asked = self.path.strip("/")
        with self.server.lock, self.server.conn.transaction():
            for number in range(int(asked) if asked.isdigit() else 0):
                self.server.conn.execute("SELECT %s::int + 1", (number,))
        self.send_response(200 if asked.isdigit() else 500)
        self.send_header("content-length", "0")
        self.end_headers()


@contextmanager
def asking_service(dsn: str) -> Iterator[str]:
    """Run a service that, asked for ``/7``, asks the database seven queries within a transaction; give its URL."""
    service = _Service(dsn)
    thread = threading.Thread(target=service.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{service.server_port}"
    finally:
        service.shutdown()
        thread.join()
        service.server_close()
        service.conn.close()


@contextmanager
def standby_of(dsn: str, slot: str) -> Iterator[str]:
    """Run a standby that streams from a server of the system's packages by a slot, and give its DSN."""
    directory = Path(tempfile.mkdtemp(prefix="golive-test-"))
    directory.chmod(0o755)
    programs, account = server_programs(), server_account()
    cluster = Cluster(directory / "server", programs, account)
    try:
        cluster.make_directory()
        argv = [str(programs / "pg_basebackup"), f"--dbname={dsn}", f"--pgdata={cluster.data}", "-R", f"--slot={slot}"]
        done = account.run([*argv, "--checkpoint=fast", "--no-sync"], cwd=Path("/"), timeout=60)
        assert done.returncode == 0, done.stderr
        cluster.start()
        with psycopg.connect(dsn) as conn:
            password = conn.info.password
        port = cluster.postmaster().port  # type: ignore[union-attr]
        yield f"postgresql://postgres:{password}@127.0.0.1:{port}/postgres"
    finally:
        cluster.stop("immediate")
        shutil.rmtree(directory, ignore_errors=True)
