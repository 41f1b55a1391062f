"""Several machines on this one: what each of them runs by the files of ``examples/several_machines``, as they are.

Of the settings in its ``.env`` files only addresses, passwords and directories are others here.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import httpx

from tasks.adapters.pg_server import EmbeddedServers
from tasks.adapters.postgres import Postgres
from tasks.domain.ports import RunningServer
from tests.certificates import Authority, Issued
from tests.flows import wait_until
from tests.monitoring import running, until
from tests.parts import missing, require_part
from tests.services import free_port
from tests.systems import new_database

ROOT = Path(__file__).resolve().parents[1]
EXAMPLE = ROOT / "examples" / "several_machines"
PASSWORD = "golive:a-word-of-the-test"
UP_WITHIN = 240.0
"""Seconds that a server may take to answer where all of a test run's processes share two processors."""


@dataclass(frozen=True)
class Machine:
    """One machine: the place of its files, and which of the example's ``.env`` files its processes read."""

    home: Path
    variables: Path

    def shell(self, line: str, *, timeout: float = UP_WITHIN) -> str:
        """Run a line as a person there does who has read the ``.env`` file in, and return what it prints."""
        given = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "GOLIVE_"))}
        given["PATH"] = os.pathsep.join((str(Path(sys.executable).parent), "/usr/sbin", os.environ["PATH"]))
        given["PYTHONPATH"] = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH", ""))))
        words = ["sh", "-ec", f"set -a; . {shlex.quote(str(self.variables))}; set +a; {line}"]
        done = subprocess.run(
            words, cwd=EXAMPLE, env=given, capture_output=True, text=True, timeout=timeout, check=False
        )
        if done.returncode:
            raise AssertionError(f"{line} ended with {done.returncode}:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")
        return done.stdout

    def start(self, role: str) -> None:
        """Let supervisor run what a machine in this role does."""
        self.shell(f"supervisord -c {role}.conf")

    def lose_power(self, role: str) -> None:
        """End supervisor and what it runs at once, as no signal that can be heard does."""
        program = int(self.shell(f"supervisorctl -c {role}.conf pid {role}"))
        os.kill(int((self.home / f"supervisord-{role}.pid").read_text()), signal.SIGKILL)
        os.killpg(program, signal.SIGKILL)

    def stop(self, role: str) -> None:
        """End what runs there in good order, if it runs."""
        record = self.home / f"supervisord-{role}.pid"
        if not record.exists():
            return
        with suppress(AssertionError):  # it has lost power
            self.shell(f"supervisorctl -c {role}.conf shutdown")
            wait_until(lambda: not record.exists(), within=60.0)

    def log(self, role: str) -> str:
        """Return what was printed there."""
        path = self.home / f"{role}.log"
        return path.read_text(errors="replace") if path.exists() else ""


@dataclass
class Fleet:
    """The machines that all pools share: database, Redis, two API servers behind a balancer, the services."""

    home: Path
    postgres: RunningServer
    port: int
    """The balancer's."""
    first: Machine
    second: Machine
    services: Machine
    client: httpx.Client
    authority: Path
    """Whom people and workers must trust, which nobody else does."""
    stack: ExitStack = field(repr=False)

    @property
    def api(self) -> str:
        """What workers and people use."""
        return f"https://127.0.0.1:{self.port}/api"

    def ask(self, method: str, path: str, /, **values: Any) -> Any:
        """Ask the API as somebody who has the password, and return what it answers, if anything.

        As Prefect's own client, this asks again where the balancer says that a server broke off.
        """
        user, _, word = PASSWORD.partition(":")
        for _ in range(5):
            answer = self.client.request(method, f"{self.api}{path}", json=values or None, auth=(user, word))
            if answer.status_code not in {502, 503}:
                break
            time.sleep(1.0)
        answer.raise_for_status()
        return answer.json() if answer.content else None

    def over_tls(self, dsn: str) -> str:
        """Return a DSN of the shared PostgreSQL by which nobody connects but over TLS, and to nothing else."""
        return f"{dsn}?sslmode=verify-full&sslrootcert={self.authority}"

    def in_clear(self) -> Sequence[Mapping[str, Any]]:
        """Return the connections of Prefect to its database that are made without TLS."""
        query = """
SELECT application_name, client_addr FROM pg_stat_activity JOIN pg_stat_ssl USING (pid)
WHERE datname LIKE 'prefect%' AND client_addr IS NOT NULL AND NOT ssl
"""
        with Postgres().session(self.postgres.dsn()) as session:
            return session.query(query)

    def machine(self, name: str, variables: str, **values: object) -> Machine:
        """Set a machine up that has an ``.env`` file of the example, with other values in it and further ones."""
        home = self.home / name
        home.mkdir(mode=0o700)
        return Machine(home, env_file(home, variables, PREFECT_HOME=home, **values))

    def worker(self, name: str, pool: str, **values: object) -> Machine:
        """Set a machine up that works in a pool; ``start`` it as a worker once the pool is registered."""
        there = self.machine(
            name,
            "worker.env",
            PREFECT_API_URL=self.api,
            PREFECT_API_AUTH_STRING=PASSWORD,
            SSL_CERT_FILE=self.authority,
            GOLIVE_POOL=pool,
            **values,
        )
        self.stack.callback(there.stop, "worker")
        return there


def env_file(home: Path, name: str, **values: object) -> Path:
    """Write an ``.env`` file of the example with other values; what it does not name comes at its end."""
    others = {key: str(value) for key, value in values.items()}
    lines = []
    for line in (EXAMPLE / name).read_text().splitlines():
        key, is_set, _ = line.partition("=")
        lines.append(f"{key}={shlex.quote(others.pop(key))}" if is_set and key in others else line)
    lines += [f"{key}={shlex.quote(value)}" for key, value in others.items()]
    path = home / name
    path.write_text("\n".join(lines) + "\n")
    path.chmod(0o600)
    return path


@contextmanager
def a_fleet(home: Path) -> Iterator[Fleet]:
    """Run all that the pools share, below a directory that PostgreSQL's account can reach."""
    with ExitStack() as stack:
        postgres = stack.enter_context(EmbeddedServers().throwaway(home / "postgres", major=15))
        database = new_database(postgres, "prefect_*")
        with Postgres().session(database) as session:
            if not session.query("SELECT 1 FROM pg_available_extensions WHERE name = 'pg_trgm'"):
                missing("no PostgreSQL with pg_trgm is installed")
        trusts = Authority(home)
        issued = trusts.issue("127.0.0.1")
        _speak_tls(database, issued)
        redis = stack.enter_context(_redis(home / "redis", issued))
        port, ports = free_port(), (free_port(), free_port())
        shared = {
            "PREFECT_SERVER_API_HOST": "127.0.0.1",
            "PREFECT_SERVER_UI_ENABLED": "false",  # nobody looks at it
            "PREFECT_SERVER_API_AUTH_STRING": PASSWORD,
            "PREFECT_API_AUTH_STRING": PASSWORD,
            "PREFECT_UI_API_URL": f"https://127.0.0.1:{port}/api",
            "PREFECT_SERVER_API_CORS_ALLOWED_ORIGINS": f"https://127.0.0.1:{port}",
            "PREFECT_SERVER_DATABASE_CONNECTION_URL": database.replace("postgresql://", "postgresql+asyncpg://"),
            "PREFECT_SERVER_DATABASE_SQLALCHEMY_CONNECT_ARGS_TLS_CA_FILE": str(trusts.ca),
            "SSL_CERT_FILE": str(trusts.ca),
            "PREFECT_REDIS_MESSAGING_URL": f"{redis}/0",
            "PREFECT_REDIS_WORKER_CLEANUP_QUEUE_URL": f"{redis}/0",
            "PREFECT_SERVER_DOCKET_URL": f"{redis}/1",
        }

        def serving(name: str, number: int) -> Machine:
            at = home / name
            at.mkdir(mode=0o700)
            own = {"PREFECT_HOME": at, "PREFECT_SERVER_API_PORT": number}
            return Machine(at, env_file(at, "server.env", **shared, **own))

        first, second, services = serving("api-1", ports[0]), serving("api-2", ports[1]), serving("services", 0)
        # A client reads all certificates when it is made, which takes longer than a question.
        tls = ssl.create_default_context(cafile=trusts.ca)
        client = stack.enter_context(httpx.Client(timeout=60.0, trust_env=False, verify=tls))
        fleet = Fleet(home, postgres, port, first, second, services, client, trusts.ca, stack)
        services.shell("prefect server database upgrade --yes")
        for machine, role in ((first, "api"), (second, "api"), (services, "services")):
            stack.callback(machine.stop, role)
            machine.start(role)
        stack.enter_context(_balancer(home / "balancer", port, ports, issued))
        for api in (*(f"http://127.0.0.1:{number}/api" for number in ports), fleet.api):
            wait_until(partial(_is_ready, client, api), within=UP_WITHIN)
        yield fleet


def _is_ready(client: httpx.Client, api: str) -> bool:
    try:
        return client.get(f"{api}/ready").status_code == 200
    except httpx.HTTPError:
        return False


def _speak_tls(dsn: str, issued: Issued) -> None:
    """Let a server of PostgreSQL speak TLS too."""
    with Postgres().session(dsn) as session:
        directory = Path(str(session.value("SHOW data_directory")))
        for path, name in ((issued.cert, "shown.pem"), (issued.key, "shown.key")):
            copied = directory / name
            copied.touch(0o600)
            copied.write_bytes(path.read_bytes())
            shutil.chown(copied, directory.stat().st_uid)
        for setting, value in (("ssl_cert_file", "shown.pem"), ("ssl_key_file", "shown.key"), ("ssl", "on")):
            session.execute(f"ALTER SYSTEM SET {setting} = '{value}'")
        session.execute("SELECT pg_reload_conf()")


@contextmanager
def _redis(directory: Path, issued: Issued) -> Iterator[str]:
    """Run Redis by the example's file, by TLS alone; give its address with the password."""
    directory.mkdir()
    port, word = free_port(), "redis-word"
    own = directory / "own.conf"
    own.write_text(
        f"include {EXAMPLE / 'redis.conf'}\nbind 127.0.0.1\nrequirepass {word}\ndir {directory}\n"
        f"port 0\ntls-port {port}\ntls-cert-file {issued.cert}\ntls-key-file {issued.key}\n"
    )
    with running([require_part("redis-server"), own], directory) as (process, log):
        until(lambda: b"Ready to accept" in log.read_bytes(), process, log)
        yield f"rediss://:{word}@127.0.0.1:{port}"


@contextmanager
def _balancer(directory: Path, port: int, ports: tuple[int, int], issued: Issued) -> Iterator[None]:
    """Run HAProxy by the example's file."""
    directory.mkdir(mode=0o700)
    shown = directory / "shown.pem"
    shown.write_bytes(issued.cert.read_bytes() + issued.key.read_bytes())
    first, second = (f"127.0.0.1:{number}" for number in ports)
    variables = env_file(
        directory,
        "balancer.env",
        PREFECT_LISTEN=f"127.0.0.1:{port}",
        PREFECT_CERTIFICATE=shown,
        PREFECT_API_1=first,
        PREFECT_API_2=second,
    )
    line = f"set -a; . {shlex.quote(str(variables))}; exec {require_part('haproxy')} -db -f {EXAMPLE / 'haproxy.cfg'}"
    with running(["sh", "-ec", line], directory):
        yield
