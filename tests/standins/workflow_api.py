"""workflow-api on real parts: Docker, PostgreSQL with TLS, Kafka, Prometheus, Alertmanager, and an nginx before it."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
from ruamel.yaml import YAML

from examples.workflow_api import build, data
from tasks.adapters.pg_server import EmbeddedServers
from tasks.adapters.postgres import Postgres
from tasks.domain.ports import RunningServer
from tests import monitoring
from tests.certificates import Authority, Issued
from tests.engines import docker, engine, python_image, require_generation
from tests.parts import missing, require_part
from tests.scripted import ScriptedServer, scripted
from tests.services import free_port
from tests.systems import SYSTEMS, System

NAME = "workflow-api"
IMAGE = "golive-test:workflow"
NEEDS = ("alembic", "confluent-kafka", "fastapi", "prometheus-client", "psycopg", "psycopg-binary", "sqlalchemy",
         "uvicorn")  # fmt: skip
PASSWORD = "Sturdy8Password0Of4Tests"
SECRET = "production-secret-" + "p" * 32
TOPIC = "workflow-runs"
KAFKA, API, EXECUTOR = "workflow-infra-kafka", f"{NAME}-main-api", f"{NAME}-main-executor"


@dataclass
class Around:
    """What is around the system, with the ports on which it is found."""

    engine: str
    api: int
    kafka: int
    balancer: int
    tls: int
    prometheus: str
    alertmanager: str
    grafana: ScriptedServer
    logs: ScriptedServer
    certificate: Issued
    authority: Authority


@contextmanager
def stand_in(server: RunningServer) -> Iterator[System]:
    """Set it up; no version is deployed. The ledger is on ``server``, production on one of its own that has TLS."""
    with standing(server) as (system, _):
        yield system


@contextmanager
def standing(server: RunningServer) -> Iterator[tuple[System, Around]]:
    """As `stand_in`, with what is around the system."""
    require_generation("v2")
    home = Path(tempfile.mkdtemp(prefix="golive-test-"))
    home.chmod(0o755)  # as root, PostgreSQL runs under another account
    try:
        with ExitStack() as stack:
            authority = Authority(home)
            production = stack.enter_context(_production(home / "postgres", authority))
            around = _around(stack, home, authority)
            system = _system(home, server, production, around)
            stack.callback(system.close)
            yield system, around
    finally:
        shutil.rmtree(home, ignore_errors=True)


@contextmanager
def _production(directory: Path, authority: Authority) -> Iterator[str]:
    """Run a PostgreSQL that speaks TLS, with a role of a strong password; give the DSN of the filled database."""
    if not Path("/usr/lib/postgresql/15/bin/postgres").exists():
        missing("Debian's postgresql is not installed, and the embedded one has no TLS")
    with EmbeddedServers().throwaway(directory, major=15) as server:
        issued, postgres = authority.issue("127.0.0.1"), Postgres()
        for path in (issued.cert, issued.key):
            path.chmod(0o600)
            shutil.chown(path, pwd.getpwuid((directory / "data").stat().st_uid).pw_name)
        with postgres.session(server.dsn()) as session:
            session.execute(f"ALTER SYSTEM SET ssl_cert_file = '{issued.cert}'")
            session.execute(f"ALTER SYSTEM SET ssl_key_file = '{issued.key}'")
            session.execute("ALTER SYSTEM SET ssl = on")
            session.execute("SELECT pg_reload_conf()")
            session.execute(f"CREATE ROLE workflow_user LOGIN SUPERUSER PASSWORD '{PASSWORD}'")
            # The tail is that of databases of `tests.systems`, by which a system finds those to be dropped.
            session.execute("CREATE DATABASE workflow_db_0123456789 OWNER workflow_user")
        port = urlsplit(server.dsn()).port
        dsn = f"postgresql://workflow_user:{PASSWORD}@127.0.0.1:{port}/workflow_db_0123456789?sslmode=require"
        once_it_answers(lambda: data.create(dsn))
        yield dsn


def once_it_answers(act: Callable[[], object]) -> None:
    """Try until the server has read its configuration again."""
    for _ in range(100):
        try:
            act()
        except psycopg.OperationalError:
            time.sleep(0.05)
        else:
            return
    act()


def _around(stack: ExitStack, home: Path, authority: Authority) -> Around:
    address = stack.enter_context(engine())
    python_image(address, IMAGE, *NEEDS)
    api, kafka, balancer, tls = (free_port() for _ in range(4))
    alerts = stack.enter_context(scripted({"/": {}}))
    for name in ("prometheus", "alertmanager", "nginx", "tls"):
        (home / name).mkdir()
    issued = authority.issue("workflow.example.com")
    for path, name in ((issued.cert, "fullchain.pem"), (issued.key, "privkey.pem")):
        shutil.copy(path, home / "tls" / name)
    stack.enter_context(_nginx(home / "nginx", issued, api, balancer, tls))
    alertmanager = stack.enter_context(_alertmanager(home / "alertmanager", alerts.url))
    prometheus = stack.enter_context(_prometheus(home / "prometheus", api, urlsplit(alertmanager).netloc))
    return Around(
        address, api, kafka, balancer, tls, prometheus, alertmanager, stack.enter_context(_grafana()),
        stack.enter_context(_logs(address)), issued, authority,
    )  # fmt: skip


def _system(home: Path, server: RunningServer, dsn: str, around: Around) -> System:
    build.build(home / "trees")
    token = issue_token(home / "trees" / "v1")
    variables = {
        "WORKFLOW_API_DSN": dsn,
        "WORKFLOW_API_VERSIONS": str(home / "trees"),
        "WORKFLOW_API_KAFKA": f"127.0.0.1:{around.kafka}",
        "WORKFLOW_API_TOKEN": token,
        "GRAFANA_TOKEN": "grafana",
        "HOME": str(home / "user"),  # where Docker's client finds the engine, as in production
    }
    _use_engine(home / "user", around.engine)
    system = System.of(home, NAME, server, dsn, variables, moved(around))
    env = home / "golive" / "systems" / NAME / "env"
    env.mkdir(parents=True)
    write_environment(env / ".env.api.production", dsn, SECRET, around.kafka)
    write_environment(env / ".env.api", "postgresql://dev:dev@127.0.0.1/dev", "development-" + "d" * 32, around.kafka)
    shutil.copytree(home / "tls", env.parent / "tls")
    shutil.copy(around.authority.ca, env.parent / "tls" / "ca.pem")
    infrastructure(system, around, "up", "--detach", "kafka")
    return system


def infrastructure(system: System, around: Around, *words: str) -> None:
    """Run Compose on the project of what the versions share."""
    values = {"KAFKA_IMAGE": f"{IMAGE}-kafka", "KAFKA_PORT": str(around.kafka), "ENV_FILE": "/dev/null"}
    unset = dict.fromkeys(("IMAGE", "PORT", "DATABASE_URL"), "unused")
    tree = system.home / "trees" / "v1"
    _kafka_image(around.engine, tree)
    subprocess.run(
        ["docker", "compose", "--project-name", "workflow-infra", *words],
        cwd=tree, check=True, capture_output=True, timeout=60,
        env={"PATH": os.environ["PATH"], "HOME": os.environ["HOME"], "COMPOSE_PROJECT_NAME": "workflow-infra"}
        | unset | values,
    )  # fmt: skip


def _kafka_image(address: str, tree: Path) -> None:
    recipe = f"FROM {IMAGE}\nCOPY kafka_stand_in.py /app/\n"
    subprocess.run(
        ["docker", "--host", address, "build", "--quiet", "--tag", f"{IMAGE}-kafka", "--file", "-", str(tree)],
        input=recipe.encode(), check=True, capture_output=True, timeout=60,
    )  # fmt: skip


def issue_token(tree: Path) -> str:
    """Return a token of the service's own making."""
    env = {"JWT_SECRET": SECRET, "PATH": os.environ["PATH"]}
    argv = [sys.executable, "-m", "service.tokens", "golive"]
    return subprocess.run(
        argv, cwd=tree, env=env, check=True, capture_output=True, text=True, timeout=30
    ).stdout.strip()


def write_environment(path: Path, dsn: str, secret: str, kafka: int, **changes: str) -> None:
    """Write a file of the environment, complete, with some values changed."""
    values = {
        "DATABASE_URL": dsn, "KAFKA_BROKERS": f"127.0.0.1:{kafka}", "JWT_SECRET": secret,
        "CORS_ORIGINS": "https://workflow.example.com", "API_RELOAD": "false", "API_WORKERS": "1",
        "DATABASE_POOL_SIZE": "2", "DATABASE_MAX_OVERFLOW": "4", "LOG_LEVEL": "INFO", "LOG_FORMAT": "json",
    }  # fmt: skip
    path.write_text("".join(f"{name}={value}\n" for name, value in (values | changes).items()))
    path.chmod(0o640)


def _use_engine(user: Path, address: str) -> None:
    user.mkdir()
    env = {**os.environ, "HOME": str(user)}
    for words in (("create", "test", "--docker", f"host={address}"), ("use", "test")):
        subprocess.run(["docker", "context", *words], env=env, check=True, capture_output=True, timeout=30)


def moved(around: Around) -> dict[str, Any]:
    """Return the changes by which the release file finds everything where it is here, and waits for slow machines."""
    places = {
        "https://prometheus.example.com": around.prometheus,
        "https://alertmanager.example.com": around.alertmanager,
        "https://grafana.example.com": around.grafana.url,
        "https://logs.example.com": around.logs.url,
        "http://127.0.0.1:8080": f"http://127.0.0.1:{around.balancer}",
        # As from outside: another address of this machine than that on which they listen.
        "workflow.example.com:8000": f"127.0.0.2:{around.api}",
        "workflow.example.com:5432": f"127.0.0.2:{free_port()}",
        "workflow.example.com:9092": f"127.0.0.2:{around.kafka}",
        "workflow.example.com:443": f"127.0.0.1:{around.tls}",
    }
    text = (SYSTEMS / NAME / "release.yaml").read_text(encoding="utf-8")
    for there, here in places.items():
        text = text.replace(there, here)
    file: dict[str, Any] = YAML(typ="safe").load(text)
    for phase in file["checks"].values():
        for check in phase:
            if check["kind"] == "tls":
                check |= {"server_name": "workflow.example.com", "ca": str(around.authority.ca)}
            if "p95" in check:
                check["p95"] = "5s"
            if check["name"] == "the containers' processor time is as expected":
                check["cpu"] = "1000%"
    return {
        "base_url": f"http://127.0.0.1:{around.api}",
        "checks": file["checks"],
        "rollout.port": around.api,
        "rollout.ready.within": "3 min",
        "platform.start_within": "3 min",
        "migration.limits": {"duration": "5 min", "lock": "1 min"},
        "source.build.args": {"BASE": IMAGE},
        "backup": {"headroom": "1MB", "timeout": "60s"} | {"directory": "{root}/backups", "jobs": 2},
    }


@contextmanager
def _nginx(directory: Path, issued: Issued, api: int, plain: int, tls: int) -> Iterator[None]:
    """Run a load balancer before the API, with and without TLS."""
    program = require_part("nginx")
    (directory / "nginx.conf").write_text(f"""
        daemon off; pid {directory}/pid; error_log stderr; worker_processes 1;
        events {{}}
        http {{
          access_log off; client_body_temp_path {directory}/b; proxy_temp_path {directory}/p;
          fastcgi_temp_path {directory}/f; uwsgi_temp_path {directory}/u; scgi_temp_path {directory}/s;
          server {{
            listen 127.0.0.1:{plain}; listen 127.0.0.1:{tls} ssl;
            ssl_certificate {issued.cert}; ssl_certificate_key {issued.key}; ssl_protocols TLSv1.2 TLSv1.3;
            location / {{ proxy_pass http://127.0.0.1:{api}; }}
          }}
        }}
    """)
    words = [program, "-p", directory, "-c", directory / "nginx.conf"]
    with monitoring.running(words, directory):
        yield


RULES: Mapping[str, Any] = {
    "groups": [
        {
            "name": "workflow-api",
            "interval": "1s",
            "rules": [
                {"alert": "WorkflowApiDown", "expr": 'up{job="workflow-api"} == 0', "for": "10m"},
                {"alert": "WorkflowPoolExhausted", "expr": "increase(db_pool_exhausted_total[5m]) > 0"},
            ],
        }
    ]
}


@contextmanager
def _prometheus(directory: Path, api: int, alertmanager: str) -> Iterator[str]:
    program, port = require_part("prometheus"), free_port()
    config = {
        "global": {"scrape_interval": "1s"},
        "rule_files": ["rules.yml"],
        "scrape_configs": [{"job_name": NAME, "static_configs": [{"targets": [f"127.0.0.1:{api}"]}]}],
        "alerting": {"alertmanagers": [{"static_configs": [{"targets": [alertmanager]}]}]},
    }
    (directory / "rules.yml").write_text(json.dumps(RULES))
    (directory / "prometheus.yml").write_text(json.dumps(config))
    words = [
        program, "--config.file=prometheus.yml", f"--web.listen-address=127.0.0.1:{port}",
        f"--storage.tsdb.path={directory}/data", "--log.level=warn",
    ]  # fmt: skip
    url = f"http://127.0.0.1:{port}"
    with monitoring.ready(words, directory, url):
        yield url


@contextmanager
def _alertmanager(directory: Path, webhook: str) -> Iterator[str]:
    program, port = require_part("prometheus-alertmanager"), free_port()
    routes = {
        "route": {
            "receiver": "nobody", "group_by": ["..."], "group_wait": "100ms", "group_interval": "1s",
            "routes": [{"receiver": "operations", "matchers": ['team="operations"']}],
        },
        "receivers": [{"name": "nobody"}, {"name": "operations", "webhook_configs": [{"url": f"{webhook}/"}]}],
    }  # fmt: skip
    (directory / "alertmanager.yml").write_text(json.dumps(routes))
    words = [
        program, "--config.file=alertmanager.yml", f"--web.listen-address=127.0.0.1:{port}",
        f"--storage.path={directory}/data", "--cluster.listen-address=", "--log.level=warn",
    ]  # fmt: skip
    url = f"http://127.0.0.1:{port}"
    with monitoring.ready(words, directory, url):
        yield url


@contextmanager
def _grafana() -> Iterator[ScriptedServer]:
    """Answer as Grafana would, which no package here has."""
    panel = {"id": 1, "title": "Requests", "targets": [{"refId": "A", "expr": "http_requests_total"}]}
    with scripted(
        {
            "/api/health": {"database": "ok", "version": "11.0.0"},
            "/api/dashboards/uid/workflow-api": {"dashboard": {"title": "Workflow API", "panels": [panel]}},
            "/api/datasources/uid/prometheus": {"uid": "prometheus"},
            "/api/datasources/uid/prometheus/health": {"status": "OK", "message": "works"},
            "/api/ds/query": {"results": {"A": {"frames": [{"data": {"values": [[1, 2], [3, 4]]}}]}}},
        }
    ) as server:
        yield server


class _Collected(dict[str, Any]):
    """What a log aggregation answers, searched for in what the engine has collected at that moment."""

    def __init__(self, address: str) -> None:
        super().__init__({"/_cluster/health": {"status": "green"}})
        self.address = address
        self.lost = False

    def get(self, path: str, default: Any = None) -> Any:
        if path != "/_search":
            return super().get(path, default)
        text = "" if self.lost else docker(self.address, "logs", "--tail", "200", API)
        return {"hits": {"total": {"value": text.count("golive-")}}}


@contextmanager
def _logs(address: str) -> Iterator[ScriptedServer]:
    with scripted({}) as server:
        server.answers = _Collected(address)
        yield server
