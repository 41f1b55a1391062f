"""Makes golive's deployments known to a Prefect server, and puts this machine to work for it."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any, NoReturn

from deployments.server import OtherServer, Server, http, other_server, what_is_logged
from tasks.adapters.host import LocalHost
from tasks.domain.errors import AccessDenied, OutsideError, Refused
from tasks.domain.ports import Command, HttpAnswer
from tasks.domain.release import limit_name
from tasks.settings import FORMS_VARIABLE, LEDGER_VARIABLE, POOL, POOL_VARIABLE, Settings, deployment_name
from tasks.spec.loading import systems_in

ROOT = Path(__file__).parent.parent
REGISTER_WITHIN = 300.0
"""Seconds that registering the deployments may take; it imports every flow."""
API_WITHIN = 30.0
"""Seconds within which Prefect's API must answer."""
_AGAIN = {HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.BAD_GATEWAY}


@dataclass(frozen=True)
class Registered:
    """What a server knows of this machine's pool once it is registered."""

    api: str
    pool: str
    deployments: list[str]
    systems: list[str]


def register_there(settings: Settings, tell: Callable[[str], None]) -> Registered:
    """Register every deployment with the server of the environment; what is registered already is brought up to date.

    Raises `Refused` if the environment names no such server, or no ledger that others can reach.
    """
    server = _shared(settings)
    os.environ.update(settings.environment)
    ensure_pool(server, settings.pool)
    return register_with(server, settings, tell)


def register_with(server: Server, settings: Settings, tell: Callable[[str], None]) -> Registered:
    """Register every deployment, and a limit for each system, with a server that has the pool of this machine."""
    tell("registering the deployments of prefect.yaml …")
    _prefect("deploy", "--all", "--prefect-file", str(_prefect_file(settings)))
    systems = systems_in(settings.systems)
    for system in systems:
        ensure_limit(server, limit_name(system))
    return Registered(server.api, settings.pool, sorted(deployments_of(server, settings.pool)), systems)


def become_worker(settings: Settings, limit: int) -> NoReturn:
    """Put a worker of the pool of this machine in the place of this process.

    Raises `Refused` as `register_there` does, and where nothing is registered for the pool yet.
    """
    server = _shared(settings)
    if not _is_there(server, f"/work_pools/{settings.pool}"):
        raise Refused(
            f"the server knows no work pool {settings.pool}",
            where=server.api,
            expected="the pool of this machine, with its deployments",
            do=f"golive register; or name another pool by {POOL_VARIABLE}",
        )
    argv = (sys.executable, "-m", "prefect", "worker", "start", "--type", "process")
    own = {**os.environ, **settings.environment, **what_is_logged()}
    os.chdir(ROOT)
    os.execve(sys.executable, (*argv, "--pool", settings.pool, "--limit", str(limit)), own)  # noqa: S606 - no shell is wanted


def _shared(settings: Settings) -> OtherServer:
    """Return the server that several machines share, as they share the ledger."""
    server = other_server(settings)
    if server is None:
        raise Refused(
            "PREFECT_API_URL names no other server",
            expected="the address of the server that several machines share",
            do="set it, as https://prefect.example.org/api; with golive's own server: golive up",
        )
    if settings.ledger_url is None:
        raise Refused(
            f"{LEDGER_VARIABLE} is not set: the embedded ledger is of this machine alone",
            expected="one ledger for all that use the server, or two machines may release one system at once",
            do=f"set {LEDGER_VARIABLE} to a database that each machine reaches",
        )
    return server


def ensure_pool(server: Server, pool: str) -> None:
    """See that a work pool of processes is there."""
    if not _is_there(server, f"/work_pools/{pool}"):
        # Its first worker gives it the template that a pool of processes needs.
        post(server, "/work_pools/", name=pool, type="process")


def ensure_limit(server: Server, name: str) -> None:
    """See that the UI's page "Concurrency" shows the rule, which the ledger's database is what enforces."""
    if not _is_there(server, f"/v2/concurrency_limits/{name}"):
        post(server, "/v2/concurrency_limits/", name=name, limit=1)


def deployments_of(server: Server, pool: str) -> set[str]:
    """Return the names of the deployments that a server knows for a pool."""
    return {one["name"] for one in post(server, "/deployments/filter", work_pools={"name": {"any_": [pool]}})}


def workers_of(server: Server, pool: str) -> list[Mapping[str, Any]]:
    """Return what a server knows of the workers of a pool."""
    found: list[Mapping[str, Any]] = post(server, f"/work_pools/{pool}/workers/filter")
    return found


def wanted_deployments(pool: str) -> set[str]:
    """Return the names that the deployments of ``prefect.yaml`` have in a pool."""
    return {deployment_name(one["name"], pool) for one in _read_prefect_file()["deployments"]}


def post(server: Server, path: str, **values: Any) -> Any:
    """Post to the server's API and return its answer; raises `OutsideError`."""
    answer = _ask(server, "POST", path, values)
    if answer.status >= HTTPStatus.BAD_REQUEST:
        raise OutsideError(f"answers {answer.status}: {answer.body[:300].decode(errors='replace')}", where=path)
    return json.loads(answer.body)


def _is_there(server: Server, path: str) -> bool:
    return _ask(server, "GET", path).status == HTTPStatus.OK


def _ask(server: Server, method: str, path: str, values: Any = None) -> HttpAnswer:
    """Ask Prefect's server, again while it answers 503, as where its SQLite was locked, or a balancer 502."""
    deadline = time.monotonic() + API_WITHIN
    while True:
        answer = http().request(method, server.api + path, headers=server.headers, json=values, timeout=API_WITHIN)
        if answer.status == HTTPStatus.UNAUTHORIZED:
            raise AccessDenied(
                "Prefect's server asks for another password",
                where=server.api,
                do="set PREFECT_API_AUTH_STRING to what its PREFECT_SERVER_API_AUTH_STRING is",
            )
        if answer.status not in _AGAIN or time.monotonic() > deadline:
            return answer
        time.sleep(0.5)


def _prefect_file(settings: Settings) -> Path:
    """Return ``prefect.yaml``, or one like it whose deployments are named for the pool of this machine."""
    if settings.pool == POOL:
        return ROOT / "prefect.yaml"
    file = _read_prefect_file()
    own = [
        {**one, "name": deployment_name(one["name"], settings.pool)}
        | {"work_pool": {**one["work_pool"], "name": settings.pool}}
        | {"triggers": [_of_pool(trigger, settings.pool) for trigger in one.get("triggers", [])]}
        for one in file["deployments"]
    ]
    path = settings.home / "prefect" / f"{settings.pool}.yaml"
    # JSON is YAML too.
    LocalHost().write(path, json.dumps({"name": file["name"], "deployments": own}))
    return path


def _of_pool(trigger: Mapping[str, Any], pool: str) -> dict[str, Any]:
    """Return a trigger that heeds the events of its own pool's guard alone."""
    match = {key: deployment_name(value, pool) for key, value in trigger["match"].items()}
    return {**trigger, "name": deployment_name(trigger["name"], pool), "match": match}


def _read_prefect_file() -> dict[str, Any]:
    from ruamel.yaml import YAML

    found: dict[str, Any] = YAML(typ="safe").load((ROOT / "prefect.yaml").read_text(encoding="utf-8"))
    return found


def _prefect(*words: str) -> None:
    argv = (sys.executable, "-m", "prefect", "--no-prompt", *words)
    LocalHost().run(Command(argv, cwd=ROOT, env={**os.environ, FORMS_VARIABLE: "1"}, timeout=REGISTER_WITHIN))
