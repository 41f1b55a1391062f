"""pilot2 on real parts: version 1 deployed and serving by its own release file, with what must differ in a test."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cryptography.fernet import Fernet
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from examples.pilot2 import build, data
from tasks.adapters.postgres import Postgres
from tasks.domain.ports import RunningServer
from tests.services import free_port
from tests.systems import System, new_database

KEY = Fernet.generate_key().decode()
MIGRATIONS = Path(data.__file__).parent / "v2" / "server" / "migrations"
PROVIDER_KEY = "a-key-that-the-environment-holds"

_ELSEWHERE = {"", str(Path(__file__).parents[2]), sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")}
# No index of packages is to be had: the release's own environment finds those of the one that runs the tests.
_PACKAGES = "\n".join(path for path in sys.path if Path(path).is_dir() and path not in _ELSEWHERE)
_INTO = f".venv/lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages/tests.pth"
ENVIRONMENT: list[dict[str, Any]] = [
    {"command": [sys.executable, "-m", "venv", "--without-pip", ".venv"]},
    {"command": ["sh", "-c", f'printf %s "$PACKAGES" > {_INTO}'], "environment": {"PACKAGES": _PACKAGES}},
    {"imports": ["flask", "flask_apscheduler", "psycopg2", "waitress"]},
]


def make_environment(tree: Path) -> None:
    """Make a version's own environment, as the build of a release does."""
    for one in ENVIRONMENT[:2]:
        subprocess.run(one["command"], cwd=tree, env={**os.environ, **one.get("environment", {})}, check=True)


def variables(dsn: str, versions: Path) -> dict[str, str]:
    """Return what the release file refers to as ``${env:NAME}``."""
    return {
        "PILOT2_DSN": dsn,
        "PILOT2_APP_DSN": make_conninfo(dsn, user=data.ROLE),
        "PILOT2_VERSIONS": str(versions),
        "FERNET_KEY": KEY,
        "OPENAI_API_KEY": PROVIDER_KEY,
    }


@contextmanager
def stand_in(server: RunningServer, changes: Mapping[str, Any] | None = None) -> Iterator[System]:
    """Set pilot2 up with version 1 deployed, and end it after the block; ``changes`` to its file are as in `System`."""
    home = Path(tempfile.mkdtemp(prefix="golive-test-"))
    home.chmod(0o755)  # as root, PostgreSQL runs under another account
    dsn = new_database(server, "pilot2_db_*")
    system = None
    try:
        data.create(dsn)
        password = conninfo_to_dict(dsn)["password"]
        with Postgres().session(dsn) as session:
            session.execute(f"ALTER ROLE {data.ROLE} PASSWORD '{password}'")
        listen, blue, green = free_port(), free_port(), free_port()
        given = {
            "base_url": f"http://127.0.0.1:{listen}",
            "router.listen": listen,
            "rollout.ports": [blue, green],
            "rollout.drain": "100ms",
            "rollout.ready.every": "50ms",
            "source.build": ENVIRONMENT,
            "window": {"between": "00:00-24:00"},
            "backup.headroom": "1MB",
            "migration.limits.duration": "60s",
        }
        if "rollout" in (changes or {}):
            given = {key: value for key, value in given.items() if not key.startswith("rollout.")}
        given |= changes or {}
        system = System.of(home, "pilot2", server, dsn, variables(dsn, home / "versions"), given)
        build.build(home / "versions")
        adapt(system)
        system.deploy_unsigned("v1")
        yield system
    finally:
        if system is not None:
            system.close()
        shutil.rmtree(home, ignore_errors=True)


def adapt(system: System) -> None:
    """Give the checks the names and ports of a test, and limits that a slow machine keeps."""
    checks = {check["name"]: check for phase in system.file["checks"].values() for check in phase}
    checks["golive reaches the database of pilot2"]["equals"] = Postgres().name_of(system.dsn)
    ports = system.file["rollout"].get("ports", [system.file["router"]["listen"]])
    checks["the old version is kept running beside the new one"]["addresses"] = [f"127.0.0.1:{one}" for one in ports]
    checks["the service is healthy"]["within"] = "20s"
    checks["ten requests at once succeed"]["each"] = "20s"
    system.write()


def migrate(system: System) -> None:
    """Bring the schema of version 2, without golive."""
    with Postgres().session(system.dsn) as session:
        for name in ("001_current_user_id", "002_provider_credentials_and_logs"):
            session.script((MIGRATIONS / f"{name}.sql").read_text())
