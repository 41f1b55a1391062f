"""Targets, platforms and services of the tests, and real proxies under the tests' own configuration."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.adapters.host import LocalHost
from tasks.domain.ports import World
from tasks.domain.target import Target
from tasks.platforms.supervisor import Supervisor
from tasks.routers import Router
from tasks.routers.caddy import Caddy, Tickets
from tasks.routers.command import Command
from tasks.routers.embedded import Embedded
from tasks.routers.haproxy import Haproxy
from tasks.routers.nginx import Nginx
from tests.parts import require_part
from tests.services import SCRIPT, Clients, free_port


def a_target(world: World, root: Path, version: str = "v1") -> Target:
    """Return a target that has all that a platform and a router need."""
    return Target(world, "demo", version, dsn="postgresql://u:hidden-word@127.0.0.1/db", root=root, release_dir=root)


@dataclass
class Way:
    """A router with the port on which clients reach it; ``break_it`` spoils the proxy's configuration, ``end`` ends it.

    ``closes`` tells that a switch may close connections which are just being opened.
    """

    router: Router
    port: int
    break_it: Callable[[], object] | None = None
    end: Callable[[], object] | None = None
    resend: bool = False
    closes: bool = False

    def unfit(self, clients: Clients, switches: int) -> list[str]:
        """Return what clients lost beyond the connections that this router may close at so many switches."""
        closed = [one for one in clients.lost if one.startswith(("ConnectionResetError", "RemoteDisconnected"))]
        fit = self.closes and len(closed) <= switches * len(clients.threads)
        return [one for one in clients.lost if not (fit and one in closed)]


@contextmanager
def embedded(root: Path, world: World) -> Iterator[Way]:
    """Give a Caddy that the router itself starts."""
    port = free_port()
    router = Embedded(listen=port)
    try:
        yield Way(router, port)
    finally:
        router.close(a_target(world, root))


@contextmanager
def nginx(root: Path, world: World) -> Iterator[Way]:
    """Run an nginx of the test's own."""
    require_part("nginx")
    port, main, include = free_port(), root / "nginx.conf", root / "golive.conf"
    include.write_text("")
    user = "user root;" if os.geteuid() == 0 else ""
    temporary = " ".join(
        f"{name}_temp_path {root}/{name};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    before = f"""{user} worker_processes 2; pid {root}/nginx.pid; error_log {root}/error.log;
events {{ worker_connections 256; }}
http {{ access_log off; {temporary} include {include};
server {{ listen 127.0.0.1:{port}; location / {{ return 503; }} }} }}"""
    after = before.replace(
        "return 503;", 'proxy_pass http://demo; proxy_http_version 1.1; proxy_set_header Connection "";'
    )
    main.write_text(before)
    base = ("nginx", "-c", str(main), "-e", str(root / "error.log"))
    process = subprocess.Popen([*base, "-g", "daemon off;"])
    _await(lambda: (root / "nginx.pid").exists())
    main.write_text(after)  # from now on the first reload that finds the upstream takes the service in
    router = Nginx(
        file=include, upstream="demo", status_port=free_port(), test=(*base, "-t"), reload=(*base, "-s", "reload")
    )
    try:
        yield Way(router, port, lambda: main.write_text(after + " nonsense"), lambda: _end(process), resend=True)
    finally:
        _end(process)


@contextmanager
def haproxy(root: Path, world: World) -> Iterator[Way]:
    """Run an HAProxy of the test's own in master-worker mode."""
    require_part("haproxy")
    port, main, file = free_port(), root / "haproxy.cfg", root / "golive.cfg"
    text = f"""global
    maxconn 200
    stats socket {root}/s expose-fd listeners
defaults
    mode http
    timeout connect 3s
    timeout client 30s
    timeout server 30s
frontend in
    bind 127.0.0.1:{port}
    option idle-close-on-response
    default_backend demo
"""
    main.write_text(text)
    file.write_text("backend demo\n    mode http\n")
    process = subprocess.Popen(["haproxy", "-W", "-db", "-f", str(main), "-f", str(file)], stderr=subprocess.DEVNULL)
    _await(lambda: not LocalHost().port_is_free(port))
    file.write_text("")
    router = Haproxy(
        file=file,
        backend="demo",
        status_port=free_port(),
        test=("haproxy", "-c", "-q", "-f", str(main), "-f", str(file)),
        # Not by the program kill, which a small Debian does not have.
        reload=(sys.executable, "-c", f"import os, signal; os.kill({process.pid}, signal.SIGUSR2)"),
    )
    try:
        yield Way(router, port, lambda: main.write_text(text + "nonsense\n"), lambda: _end(process))
    finally:
        _end(process)


@contextmanager
def _a_caddy(root: Path, port: int, handler: dict[str, Any]) -> Iterator[str]:
    """Run a Caddy of the test's own whose one route has a handler; give the address of its admin API."""
    admin = f"127.0.0.1:{free_port()}"
    server = {
        "listen": [f"127.0.0.1:{port}"],
        "automatic_https": {"disable": True},
        "routes": [{"handle": [handler]}],
    }
    config = {
        "admin": {"listen": admin, "config": {"persist": False}},
        "logging": {"logs": {"default": {"level": "ERROR"}}},
        "apps": {"http": {"grace_period": "10s", "servers": {"shop": server}}},
    }
    (root / "Caddy.json").write_text(json.dumps(config))
    found = LocalHost().which("caddy")
    assert found is not None
    process = subprocess.Popen(
        [found, "run", "--config", root / "Caddy.json"],
        env={**os.environ, "XDG_DATA_HOME": str(root), "XDG_CONFIG_HOME": str(root)},
        stderr=subprocess.DEVNULL,
    )
    try:
        _await(lambda: not LocalHost().port_is_free(port))
        yield f"http://{admin}"
    finally:
        _end(process)


_SHOP = {
    "@id": "shop",
    "handler": "reverse_proxy",
    "upstreams": [{"dial": "127.0.0.1:9"}],
    "load_balancing": {"selection_policy": {"policy": "least_conn"}},
}


@contextmanager
def caddy(root: Path, world: World) -> Iterator[Way]:
    """Run a Caddy of the test's own, to be made to read tickets by its admin API."""
    port = free_port()
    with _a_caddy(root, port, _SHOP) as admin:
        yield Way(Caddy(admin=admin, id="shop", tickets=Tickets(status_port=free_port())), port)


@contextmanager
def caddy_without_tickets(root: Path, world: World) -> Iterator[Way]:
    """Run a Caddy of the test's own, to be changed by its admin API at each switch."""
    port = free_port()
    with _a_caddy(root, port, _SHOP) as admin:
        yield Way(Caddy(admin=admin, id="shop"), port, resend=True, closes=True)


_BALANCER = """
import json, os, pathlib, sys
home = pathlib.Path(sys.argv[2])
if sys.argv[1] == "get":
    print((home / "said").read_text() if (home / "said").exists() else "")
    sys.exit()
asked = json.load(sys.stdin)
members = asked["members"]
said = ", ".join(f"{one['slot']} {one['address']} {one['weight']}" for one in members)
for name, text in (("address", members[0]["address"]), ("said", said)):
    (home / "new").write_text(text)
    (home / "new").replace(home / name)
"""


@contextmanager
def command(root: Path, world: World) -> Iterator[Way]:
    """Run a balancer that two commands switch and ask: a Caddy that reads for each request where it goes."""
    port = free_port()
    (root / "balancer.py").write_text(_BALANCER)
    (root / "address").write_text("127.0.0.1:9")
    words = (sys.executable, str(root / "balancer.py"))
    router = Command(set=(*words, "set", str(root)), get=(*words, "get", str(root)), within=2.0)
    dial = f"{{file.{root}/address}}"
    handler = {"handler": "reverse_proxy", "upstreams": [{"dial": dial}]}
    with _a_caddy(root, port, handler):
        yield Way(router, port)


WAYS = {"embedded": embedded, "nginx": nginx, "haproxy": haproxy, "caddy": caddy, "command": command}
"""Each kind of router."""
ALL_WAYS = {**WAYS, "caddy without tickets": caddy_without_tickets}
"""Each kind in all its varieties."""


@contextmanager
def service(version: str, port: int | None = None, **environment: str) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """Run one version of the small service until the block ends."""
    port = port or free_port()
    process = subprocess.Popen(
        [sys.executable, str(SCRIPT), str(port)],
        env={**os.environ, "VERSION": version, **environment},
        stdout=subprocess.DEVNULL,
    )
    try:
        _await(lambda: not LocalHost().port_is_free(port))
        yield port, process
    finally:
        _end(process)


def _await(holds: Callable[[], bool], within: float = 15.0) -> None:
    end = time.monotonic() + within
    while not holds():
        if time.monotonic() > end:
            raise TimeoutError(f"not so within {within:g} s")
        time.sleep(0.05)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(10)


def supervisor(**processes: dict[str, Any]) -> Supervisor:
    """Return a platform that runs the small service, with further settings for its processes by name."""
    web = {
        "command": ["{python}", str(SCRIPT), "{port}"],
        "environment": {"VERSION": "{version}", "DSN": "{dsn}"},
        "stop_wait": "2s",
    }
    return Supervisor.model_validate({"processes": {"web": web} | {k: web | v for k, v in processes.items()}})
