"""Prefect's servers: this installation's own, kept running by supervisor with a worker, and one that others run."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import shlex
import socket
import sys
import time
from dataclasses import dataclass, field
from functools import cache
from http import HTTPStatus
from pathlib import Path
from typing import Protocol

from deployments.environment import remember
from tasks.adapters.host import LocalHost
from tasks.adapters.http import HttpxHttp
from tasks.domain.errors import CommandFailed, OutsideError, Refused, TimedOut
from tasks.domain.http_login import basic
from tasks.domain.ports import Command
from tasks.settings import POOL, Settings

TRIES = 100
"""How often supervisor starts what ends right after its start, each time a second later than before: for 84 minutes."""
UP_WITHIN = 120.0
"""Seconds that the server may take to answer; it migrates its own database at the first start."""

_CONFIG = """\
[supervisord]
logfile={home}/supervisord.log
pidfile={home}/supervisord.pid
childlogdir={home}

[unix_http_server]
file={socket}
chmod=0700

[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface

[supervisorctl]
serverurl=unix://{socket}

[program:server]
command={python} -m prefect server start --host 127.0.0.1 --port {port}
directory={root}
autorestart=true
startretries={tries}
stopasgroup=true
killasgroup=true
stdout_logfile={log_home}/server.log
redirect_stderr=true

[program:worker]
command={python} -m prefect worker start --pool {pool} --type process --limit 8
directory={root}
autostart=false
autorestart=true
startsecs=3
startretries={tries}
stopasgroup=true
killasgroup=true
stdout_logfile={log_home}/worker.log
redirect_stderr=true

[program:keeper]
command={python} -m deployments.cli keep-guard
directory={root}
autostart=false
autorestart=true
startsecs=1
startretries={tries}
stopasgroup=false
stdout_logfile={log_home}/keeper.log
redirect_stderr=true

[program:slack]
command={python} -m deployments.cli slack
directory={root}
autostart=false
autorestart=true
startsecs=3
startretries={tries}
stopasgroup=false
stdout_logfile={log_home}/slack.log
redirect_stderr=true
"""


class Server(Protocol):
    """A Prefect server that can be asked."""

    @property
    def api(self) -> str:
        """The address of its API."""

    @property
    def headers(self) -> dict[str, str]:
        """What a request to its API must bring along."""


@dataclass(frozen=True)
class OtherServer:
    """A Prefect server that this installation does not run."""

    api: str
    """The address of its API."""
    password: str = field(default="", repr=False)
    """What its API asks for, as ``user:password``; nobody is asked if it is empty."""

    @property
    def headers(self) -> dict[str, str]:
        """What a request to its API must bring along."""
        return _credentials(self.password)

    def answers(self) -> bool:
        """Tell whether the server is up."""
        return _answers(self)


@dataclass(frozen=True)
class LocalServer:
    """The Prefect server under ``home`` on a port of 127.0.0.1."""

    home: Path
    port: int
    password: str = field(default="", repr=False)
    """What its API and its UI ask for, as ``user:password``; nobody is asked if it is empty."""
    pool: str = POOL
    """The work pool of its worker."""

    @property
    def api(self) -> str:
        """The address of its API."""
        return f"http://127.0.0.1:{self.port}/api"

    @property
    def ui(self) -> str:
        """The address at which people see it."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs in its environment to use the server."""
        guarded = {"PREFECT_SERVER_API_AUTH_STRING": self.password, "PREFECT_API_AUTH_STRING": self.password}
        return {
            "PREFECT_API_URL": self.api,
            "PREFECT_HOME": str(self.home),
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            # What Prefect sells is no part of anybody's release.
            "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
            "PREFECT_UI_API_URL": self.api,
            # By default Prefect lets the pages of every web site use its API.
            "PREFECT_SERVER_API_CORS_ALLOWED_ORIGINS": f"{self.ui},http://localhost:{self.port}",
            **(guarded if self.password else {}),
            **what_is_logged(),
        }

    @property
    def headers(self) -> dict[str, str]:
        """What a request to its API must bring along."""
        return _credentials(self.password)

    def answers(self) -> bool:
        """Tell whether the server is up."""
        return _answers(self)

    def start(self) -> None:
        """Start supervisor and with it the server, unless they run; `wait` tells when it answers.

        Raises `Refused` if something else has taken the server's port meanwhile.
        """
        if self.is_supervised():
            self.ensure("server")
            return
        if not _is_free(self.port):
            raise Refused(
                f"port {self.port} is taken by another program",
                where=str(self.home / "port"),
                expected="the port of golive's own Prefect server",
                do="end that program, or remove this file so that another port is chosen",
            )
        self.home.mkdir(parents=True, exist_ok=True, mode=0o700)
        config = self.home / "supervisord.conf"
        config.write_text(self.config())
        remember(self.home, {**os.environ, **self.environment})
        _run([sys.executable, "-m", "supervisor.supervisord", "-c", str(config)], self.environment)

    def config(self) -> str:
        """Return what supervisor reads: it splits commands like a shell, and a lone ``%`` begins an expansion."""
        values = {
            "home": str(self.home),
            "socket": str(_socket(self.home)),
            "python": shlex.quote(sys.executable),
            "root": str(Path(__file__).parent.parent),
        }
        escaped = {name: value.replace("%", "%%") for name, value in values.items()}
        escaped["log_home"] = escaped["home"].replace("%", "%%")  # of all options, this one is expanded twice
        return _CONFIG.format(**escaped, port=self.port, pool=self.pool, tries=TRIES)

    def is_supervised(self) -> bool:
        """Tell whether this installation's supervisor runs."""
        if not (self.home / "supervisord.pid").exists():
            return False
        try:
            self.control("pid")
        except CommandFailed:
            return False
        return True

    def ensure(self, program: str) -> None:
        """Start one of supervisor's programs, ``worker`` say, unless it runs already."""
        try:
            self.control("start", program)
        except CommandFailed as error:
            if "already started" not in error.seen:
                raise

    def wait(self, within: float = UP_WITHIN) -> None:
        """Wait until the server answers, for at most so many seconds; raises `TimedOut` with where its log is."""
        deadline = time.monotonic() + within
        while not self.answers():
            if time.monotonic() > deadline:
                raise TimedOut(
                    f"the Prefect server does not answer after {within:g} s",
                    where=self.api,
                    do=f"read {self.home / 'server.log'}",
                )
            time.sleep(0.2)

    def control(self, *words: str) -> None:
        """Run supervisorctl with these words."""
        config = self.home / "supervisord.conf"
        _run([sys.executable, "-m", "supervisor.supervisorctl", "-c", str(config), *words], self.environment)

    def stop(self) -> None:
        """Stop worker, server and supervisor, and wait for their end; one that does not run is fine."""
        pidfile = self.home / "supervisord.pid"
        if not pidfile.exists():
            return
        try:
            self.control("shutdown")
        except CommandFailed:
            return
        deadline = time.monotonic() + 30
        while pidfile.exists() and time.monotonic() < deadline:
            time.sleep(0.1)


@cache
def http() -> HttpxHttp:
    """Return this process's client for Prefect's API."""
    return HttpxHttp()


def local_server(settings: Settings) -> LocalServer:
    """Return this installation's server; its port and its password are chosen at the first start and kept."""
    home = settings.home / "prefect"
    record = home / "port"
    if not record.exists():
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        record.write_text(str(_free_port(int(os.environ.get("GOLIVE_PREFECT_PORT", "4200")))))
    return LocalServer(home, int(record.read_text()), _password(password_file(settings)), settings.pool)


def other_server(settings: Settings) -> OtherServer | None:
    """Return the server that the environment names, or None if it names none or this installation's own."""
    api = os.environ.get("PREFECT_API_URL", "").rstrip("/")
    if not api or ((settings.home / "prefect" / "port").exists() and local_server(settings).api == api):
        return None
    return OtherServer(api, os.environ.get("PREFECT_API_AUTH_STRING", ""))


def what_is_logged() -> dict[str, str]:
    """Return what a process needs in its environment to log the runs of golive's flows as they are meant."""
    return {
        # Prefect's own words repeat what the ledger and the report say; warnings still come through.
        "PREFECT_LOGGING_LEVEL": os.environ.get("PREFECT_LOGGING_LEVEL", "WARNING"),
        # What golive itself says of its steps and checks stands in the log of the run.
        "PREFECT_LOGGING_EXTRA_LOGGERS": "golive",
        "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
    }


def password_file(settings: Settings) -> Path:
    """Return the file (0600) that holds what the UI and the API of this installation's server ask for."""
    return settings.home / "prefect" / "password"


def use(server: LocalServer) -> None:
    """Let this process, and those that it starts, use the server; must come before Prefect is imported."""
    os.environ.update(server.environment)


def _answers(server: Server) -> bool:
    try:
        return http().request("GET", f"{server.api}/health", timeout=2.0).status == HTTPStatus.OK
    except OutsideError:
        return False


def _credentials(password: str) -> dict[str, str]:
    return {"Authorization": basic(password)} if password else {}


def _password(record: Path) -> str:
    """Return what the file holds; of several processes that come first at the same time, one makes it."""
    if not record.exists():
        beside = record.with_name(f"{record.name}.{secrets.token_hex(4)}")
        with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(f"golive:{secrets.token_urlsafe(24)}\n")
        with contextlib.suppress(FileExistsError):
            os.link(beside, record)
        beside.unlink()
    return record.read_text().strip()


def _free_port(preferred: int) -> int:
    if _is_free(preferred):
        return preferred
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _socket(home: Path) -> Path:
    # A socket's path has room for 107 bytes, so the home's own name need not fit into it.
    own = home / "control.sock"
    if len(str(own)) < 100:
        return own
    name = hashlib.sha256(str(home).encode()).hexdigest()[:16]
    return Path("/tmp") / f"golive-{os.getuid()}-{name}.sock"  # noqa: S108


def _run(argv: list[str], environment: dict[str, str]) -> None:
    # What supervisor starts gets its environment, in which the secrets of the release files are.
    LocalHost().run(Command(tuple(argv), env={**os.environ, **environment}, timeout=60.0))
