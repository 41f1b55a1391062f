"""The rollout recreate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

from tasks.domain.upstream import Upstream
from tasks.platforms import Instance, Running
from tasks.rollouts import Rollout, Site, Step
from tasks.routers import Port, Router

SLOT = "main"


class Recreate(Rollout):
    """Stops the old version and then starts the new one in its place: simple, and down in between."""

    stops_first: ClassVar[bool] = True

    kind: Literal["recreate"] = "recreate"
    """Which kind of rollout this is."""
    port: Port
    """The port on 127.0.0.1 on which each version listens."""

    def places(self) -> Mapping[str, int]:
        """Return the one slot."""
        return {SLOT: self.port}

    def serving(self, site: Site) -> str | None:
        """Return the version that is up."""
        return self.serving_in(site, SLOT)

    def steps(self, site: Site, version: str) -> Sequence[Step]:
        """Return the acts: stop the old version, start the new one, wait until it is ready."""
        steps = [
            Step("stop the old version", lambda: self._stop_other(site, version)),
            Step(f"start {version}", lambda: self.start(site, self._instance(site, version))),
            Step(f"wait until {version} is ready", lambda: self.wait_ready(site, SLOT, self.port)),
        ]
        if (router := site.router) is not None:
            steps.append(Step(f"send requests to {version}", lambda: self._route(site, router)))
        return steps

    def finish(self, site: Site) -> Sequence[Step]:  # noqa: ARG002
        """Return nothing: the old version was stopped when the new one was started."""
        return ()

    def _instance(self, site: Site, version: str) -> Instance:
        return Instance(SLOT, version, site.release_dir, self.port, site.target.dsn)

    def _stop_other(self, site: Site, version: str) -> Mapping[str, Any]:
        status = site.platform.status(site.target, SLOT)
        if status.version == version and status.running in {Running.UP, Running.STARTING}:
            return {"stopped": None}
        site.platform.stop(site.target, SLOT)
        return {"stopped": status.version or None}

    def _route(self, site: Site, router: Router) -> Mapping[str, Any]:
        router.switch(site.target, Upstream.one(SLOT, f"127.0.0.1:{self.port}"))
        return {"port": self.port}
