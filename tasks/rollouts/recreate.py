"""The rollout recreate."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, ClassVar, Literal

from tasks.domain.kind import Duration
from tasks.domain.together import together
from tasks.domain.upstream import Upstream
from tasks.rollouts import ALIVE, Place, Rollout, Site, Step, router_of, timed
from tasks.routers import Port, Router

SLOT = "main"
_STOP = "stop the old version"


class Recreate(Rollout):
    """Stops the old version and then starts the new one in its place: simple, and down in between.

    With ``pause`` the router holds requests back in the meantime, so that they are late instead of lost.
    """

    stops_first: ClassVar[bool] = True

    kind: Literal["recreate"] = "recreate"
    """Which kind of rollout this is."""
    port: Port
    """The port on 127.0.0.1 on which each version listens."""
    pause: Duration = 0.0
    """How long at most the router holds requests back while neither version runs, from before `drain` until the new one
    is ready; 0 if it shall not."""

    def places(self, site: Site) -> Sequence[Place]:
        """Return the one slot on each host."""
        return [Place(SLOT, self.port, host) for host in site.host_names]

    def serving(self, site: Site) -> str | None:
        """Return the version that is up: of several hosts, on those to which the router sends requests."""
        places = self.places(site)
        current = site.router.current(site.at_router) if site.router and site.hosts else None
        return self.one_version(site, [place for place in places if not current or place.name in current.slots])

    def steps(self, site: Site, version: str) -> Sequence[Step]:
        """Return the acts: stop the old version, start the new one, wait until it is ready, send requests to it."""
        router, places = site.router, self.places(site)
        stopped_at: list[float] = []

        def stop() -> Mapping[str, Any]:
            began = site.target.world.clock.monotonic()
            stopped = self._stop_others(site, version)
            if any(stopped):
                stopped_at.append(began)
            return {"stopped": stopped}

        def wait() -> Mapping[str, Any]:
            seen = together(lambda place: self.wait_ready(site, place), places)
            # Not to be told where another process, or the migration before this, has stopped it.
            down = site.target.world.clock.monotonic() - stopped_at[0] if stopped_at else math.nan
            return {"places": seen} | ({"down": round(down, 3)} if math.isfinite(down) else {})

        def start() -> Mapping[str, Any]:
            return {"places": together(lambda place: self.start(site, place, version), places)}

        steps = [
            *self._holding(site, version),
            Step(_STOP, stop),
            Step(f"start {version}", start),
            Step(f"wait until {version} is ready", wait),
        ]
        if router is not None:
            steps.append(Step(f"send requests to {version}", lambda: self._route(site, router)))
        return [timed(site, step) for step in steps]

    def stop_ahead(self, site: Site, version: str) -> Sequence[Step]:
        """Return the acts that hold requests back, if `pause` asks for that, and stop what is not the new version."""
        stop = Step(_STOP, lambda: {"stopped": self._stop_others(site, version)})
        return [timed(site, step) for step in (*self._holding(site, version), stop)]

    def finish(self, site: Site) -> Sequence[Step]:  # noqa: ARG002
        """Return nothing: the old version was stopped when the new one was started."""
        return ()

    @property
    def longest_hold(self) -> float:
        """`pause`."""
        return float(self.pause)

    def _holding(self, site: Site, version: str) -> Sequence[Step]:
        return [Step("hold requests back", lambda: self._hold(site, version))] if self.pause else []

    def _hold(self, site: Site, version: str) -> Mapping[str, Any]:
        if all(self.version_in(site, place) == version for place in self.places(site)):
            return {"held": False}
        router_of(site).pause(site.at_router, self.pause)
        site.target.world.clock.sleep(self.drain)
        return {"held": True, "limit": self.pause}

    def _stop_others(self, site: Site, version: str) -> list[str | None]:
        return together(lambda place: self._stop_other(site, place, version), self.places(site))

    def _stop_other(self, site: Site, place: Place, version: str) -> str | None:
        target = site.on(place.host)
        status = site.platform.status(target, place.slot)
        if status.version == version and status.running in ALIVE:
            return None
        site.platform.stop(target, place.slot)
        return status.version or None

    def _route(self, site: Site, router: Router) -> Mapping[str, Any]:
        router.switch(site.at_router, Upstream(tuple(site.member(place) for place in self.places(site))))
        held = router.resume(site.at_router)
        return {"port": self.port} | ({"held": asdict(held)} if held else {})
