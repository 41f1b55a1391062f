"""Rollouts: how a new version takes over from the old. One file per kind, found by its file."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import Field

from tasks.domain.errors import OutsideError, RolloutFailed, Unreachable
from tasks.domain.kind import Duration, Kind, Strict
from tasks.domain.target import Target
from tasks.domain.upstream import Member
from tasks.platforms import Instance, Platform, Running
from tasks.routers import Router


class Ready(Strict):
    """When an instance counts as ready."""

    path: str = "/health"
    """The path that is asked on the instance's own port."""
    status: int = 200
    """The status that means ready."""
    successes: Annotated[int, Field(ge=1)] = 3
    """How many answers in a row are needed."""
    every: Duration = 0.2
    """How long to wait between two questions."""
    within: Duration = 30.0
    """After how long an instance that is not ready is given up."""


@dataclass(frozen=True)
class Step:
    """An act on the world that may be repeated without harm. ``act`` returns evidence that JSON can hold.

    ``mutates`` tells that production may differ afterwards. The ledger gets "started" before it and its end after it.
    """

    name: str
    act: Callable[[], Mapping[str, Any]]
    mutates: bool = True


@dataclass(frozen=True)
class Place:
    """A slot on a host, with the port on that host's 127.0.0.1 where what runs there listens."""

    slot: str
    port: int
    host: str = ""

    @property
    def name(self) -> str:
        """The place's name in a router: the slot's, with the host's where a system has several."""
        return f"{self.slot}-{self.host}" if self.host else self.slot


@dataclass(frozen=True)
class Host:
    """A machine that runs the system: ``target`` sees the world from there, its own 127.0.0.1 included.

    ``address`` is where the router reaches that machine's ports.
    """

    target: Target
    address: str = "127.0.0.1"


@dataclass(frozen=True)
class Site:
    """Where a rollout works: the target it brings up, the code's directory, and the parts that do the work.

    ``target`` is that of the first host, and the router's. ``hosts`` are all by their names; there are none where the
    system runs on golive's own machine alone.
    """

    target: Target
    platform: Platform
    router: Router | None
    release_dir: Path
    root: Path
    hosts: Mapping[str, Host] = field(default_factory=dict)

    def on(self, host: str) -> Target:
        """Return the target as it is on a host."""
        return self.hosts[host].target if host else self.target

    def member(self, place: Place, weight: int = 1) -> Member:
        """Return a place as a member of the router's upstream."""
        address = self.hosts[place.host].address if place.host else "127.0.0.1"
        return Member(place.name, f"{address}:{place.port}", weight)


class Rollout(Kind):
    """Brings a version into service. A rollback is the same steps with the previous version."""

    needs_router: ClassVar[bool] = False
    """Whether this kind of rollout cannot do without a router."""
    stops_first: ClassVar[bool] = False
    """Whether it stops what serves before it starts the new version, so that in between nothing of it should run."""

    ready: Ready = Ready()
    """When a started instance counts as ready for requests."""
    drain: Duration = 5.0
    """How long requests under way on the old version may take before it is stopped."""

    @abstractmethod
    def places(self) -> Mapping[str, int]:
        """Return the slots that the rollout uses, each with its port on 127.0.0.1."""

    @abstractmethod
    def serving(self, site: Site) -> str | None:
        """Return the version that serves now, as the router and the platform report it; None if none does."""

    @abstractmethod
    def steps(self, site: Site, version: str) -> Sequence[Step]:
        """Return the acts that bring ``version`` (its code in ``site.release_dir``) into service."""

    @abstractmethod
    def finish(self, site: Site) -> Sequence[Step]:
        """Return the acts that end the release for good: what served before is stopped."""

    def foreign_ports(self, site: Site) -> list[int]:
        """Return those of the rollout's ports that something listens on which golive did not start there."""
        alive = {Running.UP, Running.STARTING}
        return [
            port
            for slot, port in self.places().items()
            if not site.target.world.host.port_is_free(port)
            and site.platform.status(site.target, slot).running not in alive
        ]

    def serving_in(self, site: Site, slot: str) -> str | None:
        """Return the version that is up in a slot; raises `Unreachable` if the platform cannot tell."""
        status = site.platform.status(site.target, slot)
        if status.running is Running.UNKNOWN:
            raise Unreachable(
                "the platform cannot be asked", where=f"slot {slot}", do="; ".join(status.detail.values())
            )
        return status.version if status.running is Running.UP else None

    def start(self, site: Site, instance: Instance) -> Mapping[str, Any]:
        """Start an instance in its slot; whatever else golive runs there is stopped first.

        Raises `RolloutFailed` before anything is started if something else listens on its port.
        """
        target, platform = site.target, site.platform
        begun = target.world.clock.monotonic()
        status = platform.status(target, instance.slot)
        ours = status.running in {Running.UP, Running.STARTING} and status.port == instance.port
        if not (ours and status.version == instance.version):
            platform.stop(target, instance.slot)
            if not target.world.host.port_is_free(instance.port):
                raise RolloutFailed(
                    f"port {instance.port} is taken by a process that golive did not start in slot {instance.slot}",
                    expected="a free port",
                    where=f"127.0.0.1:{instance.port}",
                    do="end that process, or give the rollout another port",
                )
        platform.start(target, instance)
        took = round(target.world.clock.monotonic() - begun, 3)
        return {"slot": instance.slot, "port": instance.port, "version": instance.version, "seconds": took}

    def wait_ready(self, site: Site, slot: str, port: int) -> Mapping[str, Any]:
        """Wait until the instance in a slot answers as `ready` wants it, and return how long that took.

        Raises `RolloutFailed` with the last answer and the last lines of the log if it exits or is not ready in time.
        """
        world, ready = site.target.world, self.ready
        url = f"http://127.0.0.1:{port}{ready.path}"
        begun = world.clock.monotonic()
        row, last, look_at = 0, "nothing was asked", begun
        while (now := world.clock.monotonic()) < begun + ready.within:
            try:
                answer = world.http.request(
                    "GET", url, timeout=min(5.0, max(1.0, begun + ready.within - now)), fresh=True
                )
                row, last = (row + 1 if answer.status == ready.status else 0), f"status {answer.status}"
            except OutsideError as error:
                row, last = 0, error.seen
            if row >= ready.successes:
                return {"slot": slot, "port": port, "seconds": round(world.clock.monotonic() - begun, 3)}
            if not row and now >= look_at:
                look_at = now + 1.0
                if site.platform.status(site.target, slot).running is Running.DOWN:
                    raise self._not_ready(site, slot, url, f"the process has ended; before that: {last}")
            world.clock.sleep(ready.every)
        raise self._not_ready(site, slot, url, f"not ready within {ready.within:g} s; last: {last}")

    def _not_ready(self, site: Site, slot: str, url: str, seen: str) -> RolloutFailed:
        lines = "\n".join(site.platform.log(site.target, slot, 20))
        return RolloutFailed(
            seen,
            expected=f"status {self.ready.status} {self.ready.successes} times in a row",
            where=f"{slot}, {url}",
            do=f"read what it wrote last:\n{site.target.world.secrets.mask(lines)}",
        )
