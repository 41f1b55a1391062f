"""The how-tos that need more than golive and a database: sshd, nginx, systemd, Docker, Slack; done as they say."""

from __future__ import annotations

import getpass
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from ruamel.yaml import YAML

from tests.engines import clear, python_image, require_generation
from tests.flows import BLUE_GREEN, SmallSystem, wait_until
from tests.managers import Manager
from tests.monitoring import running
from tests.parts import git, require_part
from tests.reading import Page, a_reader
from tests.services import free_port
from tests.sshd import Sshd

pytestmark = pytest.mark.timeout(300)


def behind_a_router(system: SmallSystem) -> None:
    """Let the system's release file have golive's own router, and two ports behind it."""
    ports = [free_port(), free_port()]
    system.write({"router": {"kind": "embedded", "listen": system.port}, "rollout": {**BLUE_GREEN, "ports": ports}})


def test_add_a_host(sshd: Sshd, small_system: SmallSystem, golive_programs: Path) -> None:
    behind_a_router(small_system)
    small_system.add_version("v2")
    way = f'"ssh://{getpass.getuser()}@127.0.0.1:{sshd.port}"'
    # What a reader has in ~/.ssh/config.
    way += f", identity: {sshd.login.identity}, known_hosts: {sshd.login.known_hosts}, python: {sys.executable}"
    words = {}
    for number in (1, 2):
        there = small_system.home / f"app{number}"
        there.mkdir()
        words[f'"ssh://deploy@app{number}.example.org", address: 10.0.0.1{number}'] = (
            f"{way}, root: {there}, address: 127.0.0.{number}"
        )
    page = Page(
        "docs/how-to/add-a-host.md",
        words=words,
        # Something is wrong with what other tests leave out: nobody works for the test's Prefect server.
        ends={"golive doctor shop": {4}},
    )
    with a_reader(small_system, golive_programs) as reader:
        said = reader.follow(page)
    for host in ("app1", "app2"):
        assert re.search(rf"✓ .*{host}", said["golive doctor shop"]), said["golive doctor shop"]
        assert host in said["golive plan shop v2"]


def test_blue_green_with_nginx(small_system: SmallSystem, golive_programs: Path) -> None:
    program = require_part("nginx")
    shop, main, include = small_system, small_system.home / "nginx.conf", small_system.home / "golive.conf"
    shop.add_version("v2", query="SELECT id FROM item LIMIT 5")
    include.write_text("")
    words = [str(program), "-c", str(main), "-e", str(shop.home / "error.log")]
    quoted = ", ".join(words)
    temporary = " ".join(
        f"{name}_temp_path {shop.home}/{name};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    around = f"pid {shop.home}/nginx.pid; events {{ worker_connections 256; }}\n"
    around += "user root;\n" if os.geteuid() == 0 else ""
    shown: list[str] = []

    def begin_without_the_location(text: str) -> None:
        shown.append(around + text.replace("http {", f"http {{ access_log off; {temporary}"))
        main.write_text(re.sub(r"location / \{.*?\}", "", shown[0], flags=re.DOTALL))

    page = Page(
        "docs/how-to/blue-green-with-nginx.md",
        words={
            "/etc/nginx/conf.d/golive.conf": str(include),
            "listen 80": f"listen 127.0.0.1:{shop.port}",
            "8199": f"{free_port()}, test: [{quoted}, -t], reload: [{quoted}, -s, reload]",
            "8101, 8102": f"{free_port()}, {free_port()}",
            "drain: 10s": "drain: 100ms",
        },
        takes={"http {": begin_without_the_location},
    )
    with a_reader(shop, golive_programs) as reader:
        reader.follow(page)
        with running([*words, "-g", "daemon off;"], shop.home):
            wait_until((shop.home / "nginx.pid").exists)
            reader.runs("golive phase deploy shop v1")
            main.write_text(shown[0])
            reader.runs(" ".join([*words, "-s", "reload"]))
            wait_until(lambda: shop.serving() == "v1")
            reader.runs("golive phase deploy shop v2")
            wait_until(lambda: shop.serving() == "v2")


def test_background_work(small_system: SmallSystem, golive_programs: Path, systemd_manager: Manager) -> None:
    shop = small_system
    behind_a_router(shop)
    # What is no code is not fetched with it: a version's programs are made by its build.
    shop.write({"source.build": [{"command": ["cp", "-r", "programs", ".venv"]}]})
    programs = shop.home / "versions" / "v1" / "programs" / "bin"
    programs.mkdir(parents=True)
    given = f"DSN='{shop.dsn}' SWITCH={shop.home}/switch PRODUCTION={shop.port}"
    starts = {
        "uvicorn": f'#!/bin/sh\nPORT="$3" {given} exec {sys.executable} service.py\n',
        "python": f'#!/bin/sh\nexec {sys.executable} "$@"\n',
    }
    for name, text in starts.items():
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    for name in ("task_executor", "orchestrator"):
        (programs.parents[1] / f"{name}.py").write_text(
            f"import time\nprint('the {name} works', flush=True)\ntime.sleep(1000)\n"
        )
    where = f"kind: systemd\n  directory: {systemd_manager.directory / 'units'}\n"
    where += f"  prefix: {json.dumps(systemd_manager.prefix)}"
    page = Page("docs/how-to/background-work.md", words={"kind: systemd": where})
    with a_reader(shop, golive_programs) as reader:
        reader.follow(page)
        reader.runs("golive phase deploy shop v1")
        logs = reader.runs("golive logs shop")
    assert "the task_executor works" in logs
    assert "the orchestrator works" in logs
    units = systemd_manager.systemctl("list-units", "--plain", "--no-legend", "shop-*")
    assert "shop-blue-task_executor.service" in units
    shop.stop_service()


COMPOSE = """
x-service: &service
  build: .
  image: "golive-test:${COMPOSE_PROJECT_NAME}"
  network_mode: host
  init: true
  environment: {DATABASE_URL: "${DATABASE_URL}", PORT: "${PORT}"}
services:
  api:
    <<: *service
    command: [python, -m, shop.serve]
  worker:
    <<: *service
    command: [/bin/sleep, "1000"]
"""
SERVE = """
import http.server, os
import psycopg


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        with psycopg.connect(os.environ["DATABASE_URL"], connect_timeout=5) as connection:
            connection.execute("SELECT 1")
        self.send_response(200)
        self.send_header("X-Version", "v1")
        self.end_headers()


http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
"""
MIGRATE = """
import os
from alembic import context
from sqlalchemy import create_engine

dsn = os.environ["DATABASE_URL"].replace("postgresql://", "postgresql+psycopg://")
with create_engine(dsn).connect() as connection:
    context.configure(connection=connection, transaction_per_migration=True)
    with context.begin_transaction():
        context.run_migrations()
"""
REVISION = """
from alembic import op

revision, down_revision = "a1", None


def upgrade():
    op.execute("ALTER TABLE item ADD COLUMN colour text")


def downgrade():
    op.execute("ALTER TABLE item DROP COLUMN colour")
"""


def a_repository(at: Path, image: str) -> None:
    """Make the repository of a service that runs in containers, with a tag v1 and a tag v2 that migrates."""
    files = {
        "docker-compose.yml": COMPOSE,
        "Dockerfile": f"FROM {image}\nWORKDIR /app\nCOPY python /usr/bin/python\nCOPY . /app\nENV PYTHONPATH=/app\n",
        "python": '#!/bin/sh\nexec /usr/bin/python3 "$@"\n',
        "shop/__init__.py": "",
        "shop/serve.py": SERVE,
        "shop/reach.py": "print('the broker answers')\n",
        "shop/cache.py": "import sys\nassert sys.argv[1:] == ['--check']\nprint('warm')\n",
        "alembic.ini": "[alembic]\nscript_location = %(here)s/migrations\n",
        "migrations/env.py": MIGRATE,
        "migrations/versions/a1.py": REVISION,
    }
    for name, text in files.items():
        (at / name).parent.mkdir(parents=True, exist_ok=True)
        (at / name).write_text(text)
    (at / "python").chmod(0o755)
    git(at, "init", "-q")
    git(at, "add", ".")
    git(at, "commit", "-qm", "Sell items")
    git(at, "tag", "v1")


def test_compose(small_system: SmallSystem, golive_programs: Path, docker_engine: str) -> None:
    if subprocess.run(["docker", "compose", "version"], check=False, capture_output=True).returncode:
        require_generation("v1")
    shop, image = small_system, "golive-test:alembic"
    python_image(docker_engine, image, "alembic", "psycopg", "psycopg-binary", "sqlalchemy")
    a_repository(shop.home / "repository", image)

    with a_reader(shop, golive_programs) as reader:

        def on_this_engine(text: str) -> None:
            part = YAML(typ="safe").load(text)
            platform = shop.file["platform"] if "migration" in part else {}
            part["platform"] = {**platform, **part["platform"], "engine": docker_engine}
            reader.take_in(json.dumps(part))

        sources = 'source: {kind: git, repository: "https://git.example.org/shop.git"}'
        page = Page(
            "docs/how-to/compose.md",
            words={"https://git.example.org/shop.git": str(shop.home / "repository")},
            takes={
                sources: on_this_engine,
                "platform: {kind: compose, services: {api: web, worker: background}}": on_this_engine,
            },
        )
        try:
            reader.follow(page)
            reader.runs("golive phase deploy shop v1")
            assert httpx.get(f"{shop.file['base_url']}/", trust_env=False).headers["x-version"] == "v1"
            checked = reader.runs('golive check shop --only "the broker can be reached" --only "the cache is warm"')
            # Alembic tells in a container of the version's image what is pending.
            planned = reader.runs("golive plan shop v1")
        finally:
            shop.stop_service()
            clear(docker_engine)
    assert checked.count("passed") >= 2
    assert "pending: a1" in planned
