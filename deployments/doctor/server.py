"""Prefect: its server, the worker, the deployments, and the environment that they were started with."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from deployments.doctor.finding import Finding, not_known, well, wrong
from deployments.environment import difference, named_in
from deployments.registering import deployments_of, wanted_deployments, workers_of
from deployments.server import LocalServer, Server, local_server, other_server
from tasks.adapters.secrets import mask_passwords
from tasks.domain.errors import GoliveError
from tasks.settings import LEDGER_VARIABLE, Settings


def findings(settings: Settings) -> Iterator[Finding]:
    """Yield what is found of Prefect."""
    if (other := other_server(settings)) is not None:
        shown = mask_passwords(other.api)
        if not other.answers():
            yield wrong("Prefect", f"{shown} does not answer", "an API that does", "start it, or unset PREFECT_API_URL")
            return
        yield well("Prefect", f"answers at {shown}, a server of yours")
        yield from _of_pool(other, settings.pool, worker="golive worker", deployments="golive register")
        return
    server = local_server(settings) if (settings.home / "prefect" / "port").exists() else None
    if server is None or not server.answers():
        seen = "its server was never started" if server is None else f"nothing answers at {server.api}"
        yield wrong("Prefect", seen, "golive's own server", "golive up")
        return
    yield well("Prefect", f"answers at {server.api}")
    yield from _of_pool(server, server.pool, worker="golive up", deployments="golive up")
    yield _environment(server, settings)


def _of_pool(server: Server, pool: str, *, worker: str, deployments: str) -> Iterator[Finding]:
    """Yield what is found of a pool's workers and deployments, with the commands that see to them."""
    try:
        yield _worker(workers_of(server, pool), worker)
    except GoliveError as error:
        yield wrong("worker", error.seen, f"the work pool {pool} with a worker", error.do or deployments)
    try:
        yield _deployments(deployments_of(server, pool), wanted_deployments(pool), deployments)
    except GoliveError as error:
        yield not_known("deployments", error.seen, "an answer of Prefect's API", error.do or deployments)


def _worker(workers: Sequence[Mapping[str, Any]], do: str) -> Finding:
    online = [one["name"] for one in workers if one["status"] == "ONLINE"]
    if not online:
        return wrong("worker", f"none of {len(workers)} was heard of lately", "one that is online", do)
    return well("worker", f"{len(online)} online")


def _deployments(registered: set[str], wanted: set[str], do: str) -> Finding:
    if missing := sorted(wanted - registered):
        return wrong("deployments", f"not registered: {', '.join(missing)}", f"all {len(wanted)}", do)
    return well("deployments", f"all {len(wanted)} are registered")


def _environment(server: LocalServer, settings: Settings) -> Finding:
    own = {*server.environment, *settings.environment, LEDGER_VARIABLE}
    now = {**os.environ, **server.environment, **settings.environment}
    found = difference(server.home, now, own, named_in(settings.systems))
    if found.changed:
        seen = f"the worker was started before {', '.join(found.changed)} changed"
        return wrong("environment", seen, "the environment of now", "golive up")
    return well("environment", "the worker has the variables that are set here")
