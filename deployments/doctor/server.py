"""Prefect: its server, the worker, the deployments, and the environment that they were started with."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from deployments.doctor.finding import Finding, not_known, well, wrong
from deployments.environment import difference, named_in
from deployments.server import POOL, LocalServer, local_server
from deployments.serving import ROOT, post
from tasks.acting import prefect_answers
from tasks.adapters.secrets import mask_passwords
from tasks.domain.errors import GoliveError
from tasks.settings import LEDGER_VARIABLE, Settings


def findings(settings: Settings) -> Iterator[Finding]:
    """Yield what is found of Prefect."""
    server = local_server(settings) if (settings.home / "prefect" / "port").exists() else None
    if (other := os.environ.get("PREFECT_API_URL")) and (server is None or other.rstrip("/") != server.api):
        shown = mask_passwords(other)
        if prefect_answers():
            yield well("Prefect", f"answers at {shown}, a server of yours")
        else:
            yield wrong("Prefect", f"{shown} does not answer", "an API that does", "start it, or unset PREFECT_API_URL")
        return
    if server is None or not server.answers():
        seen = "its server was never started" if server is None else f"nothing answers at {server.api}"
        yield wrong("Prefect", seen, "golive's own server", "golive up")
        return
    yield well("Prefect", f"answers at {server.api}")
    try:
        yield _worker(post(server, f"/work_pools/{POOL}/workers/filter"))
    except GoliveError as error:
        yield wrong("worker", error.seen, f"the work pool {POOL} with a worker", "golive up")
    try:
        yield _deployments({one["name"] for one in post(server, "/deployments/filter")})
    except GoliveError as error:
        yield not_known("deployments", error.seen, "an answer of Prefect's API", "golive up")
    yield _environment(server, settings)


def _worker(workers: Sequence[Mapping[str, Any]]) -> Finding:
    online = [one["name"] for one in workers if one["status"] == "ONLINE"]
    if not online:
        return wrong("worker", f"none of {len(workers)} was heard of lately", "one that is online", "golive up")
    return well("worker", f"{len(online)} online")


def _deployments(registered: set[str]) -> Finding:
    from ruamel.yaml import YAML

    wanted = {one["name"] for one in YAML(typ="safe").load((ROOT / "prefect.yaml").read_text())["deployments"]}
    if missing := sorted(wanted - registered):
        return wrong("deployments", f"not registered: {', '.join(missing)}", f"all {len(wanted)}", "golive up")
    return well("deployments", f"all {len(wanted)} are registered")


def _environment(server: LocalServer, settings: Settings) -> Finding:
    own = {*server.environment, *settings.environment, LEDGER_VARIABLE}
    now = {**os.environ, **server.environment, **settings.environment}
    found = difference(server.home, now, own, named_in(settings.systems))
    if found.changed:
        seen = f"the worker was started before {', '.join(found.changed)} changed"
        return wrong("environment", seen, "the environment of now", "golive up")
    return well("environment", "the worker has the variables that are set here")
