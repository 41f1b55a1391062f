"""Rollouts: how a new version takes over from the old. One file per kind, found by its file."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, ClassVar

from pydantic import Field

from tasks.domain.errors import OutsideError, ReleaseFileError, RolloutFailed, SeveralServe, Unreachable
from tasks.domain.kind import Duration, Kind
from tasks.domain.outcome import Measurement
from tasks.domain.target import Target
from tasks.domain.together import together
from tasks.domain.upstream import Member
from tasks.platforms import Instance, Platform, Running
from tasks.rollouts._asked import Asked
from tasks.routers import Router

ALIVE = frozenset({Running.UP, Running.STARTING})
"""The states in which a slot is taken by a process of golive's."""


class Ready(Asked):
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


Ask = Callable[[Sequence[str], Target], Sequence[Measurement]]
"""Makes the named checks of the release file of a target, and returns what each saw, in their order."""


def _no_checks(names: Sequence[str], target: Target) -> Sequence[Measurement]:  # noqa: ARG001
    raise ReleaseFileError(
        f"nothing here can make the checks {', '.join(names)}", do="bring the version up by a release"
    )


@dataclass(frozen=True)
class Site:
    """Where a rollout works: the target it brings up, and the parts that do the work.

    ``target`` is that of the first host. ``hosts`` are all by their names; there are none where the system runs on
    golive's own machine alone. ``beside_router`` is the target as the router's machine sees it, if that is not the
    first host, and ``router_host`` the name of that machine if it is one of the hosts. ``ask`` makes checks.
    """

    target: Target
    platform: Platform
    router: Router | None
    hosts: Mapping[str, Host] = field(default_factory=dict)
    beside_router: Target | None = None
    router_host: str = ""
    ask: Ask = _no_checks

    @property
    def at_router(self) -> Target:
        """The target as the router's machine sees it."""
        return self.beside_router or self.target

    def on(self, host: str) -> Target:
        """Return the target as it is on a host."""
        return self.hosts[host].target if host else self.target

    @property
    def host_names(self) -> tuple[str, ...]:
        """The hosts by name; the one without a name is golive's own machine, where there are no others."""
        return tuple(self.hosts) or ("",)

    def member(self, place: Place, weight: int = 1) -> Member:
        """Return a place as a member of the router's upstream."""
        near = place.host in {"", self.router_host}
        address = "127.0.0.1" if near else self.hosts[place.host].address
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
    def places(self, site: Site) -> Sequence[Place]:
        """Return the places that the rollout uses: each of its slots on each of the site's hosts."""

    @abstractmethod
    def serving(self, site: Site) -> str | None:
        """Return the version that serves now, as the router and the platform report it; None if none does.

        Raises `SeveralServe` if the places that should get requests do not all run the same.
        """

    def coming_up(self, site: Site) -> str | None:
        """Return the version that starts where requests go, or None; it serves as soon as it is up.

        Raises `SeveralServe` if several do.
        """
        current = site.router.current(site.at_router) if site.router else None
        places = [place for place in self.places(site) if not current or place.name in current.slots]
        statuses = together(lambda place: site.platform.status(site.on(place.host), place.slot), places)
        found = sorted({status.version for status in statuses if status.running is Running.STARTING})
        if len(found) > 1:
            raise SeveralServe(
                f"{', '.join(found)} are starting",
                versions=found,
                expected="one version wherever requests go",
                do="wait until they are up, or stop what shall not serve",
            )
        return found[0] if found else None

    @abstractmethod
    def steps(self, site: Site, version: str) -> Sequence[Step]:
        """Return the acts that bring ``version`` into service."""

    def stop_ahead(self, site: Site, version: str) -> Sequence[Step]:  # noqa: ARG002 - for those that stop first
        """Return the acts that end what serves before the schema changes; none where the old version stays up."""
        return ()

    @abstractmethod
    def finish(self, site: Site) -> Sequence[Step]:
        """Return the acts that end the release for good: what served before is stopped."""

    def goes_to(self, site: Site, version: str) -> Sequence[Place]:  # noqa: ARG002 - for those with several slots
        """Return the places in which the steps would bring the version up, as things are now."""
        return self.places(site)

    def back(self, site: Site, version: str) -> Sequence[Step]:
        """Return the acts that bring the previous version back: the same steps, on the hosts that can be reached."""
        return self.steps(reachable(site), version)

    @property
    def named_checks(self) -> tuple[str, ...]:
        """The names of the release file's checks that this rollout asks of the new version."""
        return ()

    @property
    def counts_traffic(self) -> bool:
        """Whether the router has to tell what the clients' requests came to at each version."""
        return False

    @property
    def kept_for(self) -> float:
        """How many seconds after the release went live what served before is kept up; infinite for the whole watch."""
        return math.inf

    @property
    def longest_hold(self) -> float:
        """The seconds for which the router has to hold requests back; 0 if it need not."""
        return 0.0

    def require_possible(self, site: Site) -> None:
        """Raise `ReleaseFileError`, or `Refused`, if this rollout cannot be made with what the site has now."""

    def foreign_ports(self, site: Site) -> list[str]:
        """Return those of the rollout's ports that something listens on which golive did not start there."""

        def foreign(place: Place) -> str:
            target = site.on(place.host)
            if target.world.host.port_is_free(place.port):
                return ""
            status = site.platform.status(target, place.slot)
            ours = status.running in ALIVE and status.port == place.port
            return "" if ours else f"{place.port} on {place.host}" if place.host else str(place.port)

        return [found for found in together(foreign, self.places(site)) if found]

    def version_in(self, site: Site, place: Place) -> str | None:
        """Return the version that is up in a place; raises `Unreachable` if the platform cannot tell."""
        status = site.platform.status(site.on(place.host), place.slot)
        if status.running is Running.UNKNOWN:
            raise Unreachable(
                "the platform cannot be asked", where=f"slot {place.name}", do="; ".join(status.detail.values())
            )
        return status.version if status.running is Running.UP else None

    def one_version(self, site: Site, places: Sequence[Place]) -> str | None:
        """Return the one version that is up in all of the places, None if nothing is; raises `SeveralServe`."""
        found = together(lambda place: self.version_in(site, place), places)
        if len(set(found)) <= 1:
            return found[0] if found else None
        where = {place.name: version for place, version in zip(places, found, strict=True)}
        raise SeveralServe(
            ", ".join(f"{version or 'nothing'} in {name}" for name, version in where.items()),
            versions=sorted({version for version in found if version}),
            expected="one version wherever requests go",
            do="resume the release or roll it back; if none is under way, release one of these versions",
        )

    def start(self, site: Site, place: Place, version: str, *, background: bool = True) -> Mapping[str, Any]:
        """Start a version in a place; whatever else golive runs there is stopped first.

        Raises `RolloutFailed` before anything is started if something else listens on its port.
        """
        target, platform = site.on(place.host), site.platform
        begun = target.world.clock.monotonic()
        status = platform.status(target, place.slot)
        ours = status.running in ALIVE and status.port == place.port
        if not (ours and status.version == version):
            platform.stop(target, place.slot)
            if not target.world.host.port_is_free(place.port):
                raise RolloutFailed(
                    f"port {place.port} is taken by a process that golive did not start in slot {place.name}",
                    expected="a free port",
                    where=f"127.0.0.1:{place.port}",
                    do="end that process, or give the rollout another port",
                )
        platform.start(
            target, Instance(place.slot, version, target.release_dir, place.port, target.dsn, background=background)
        )
        took = round(target.world.clock.monotonic() - begun, 3)
        return {"slot": place.name, "port": place.port, "version": version, "seconds": took}

    def wait_ready(self, site: Site, place: Place) -> Mapping[str, Any]:
        """Wait until what runs in a place answers as `ready` wants it, and return how long that took.

        Raises `RolloutFailed` with the last answer and the last lines of the log if it exits or is not ready in time.
        """
        target, ready = site.on(place.host), self.ready
        world = target.world
        url = f"http://127.0.0.1:{place.port}{ready.path}"
        begun = world.clock.monotonic()
        row, last, look_at = 0, "nothing was asked", begun
        while (now := world.clock.monotonic()) < begun + ready.within:
            try:
                patience = min(5.0, max(1.0, begun + ready.within - now))
                answer = ready.ask(target, place.port, ready.path, patience)
                row, last = (row + 1 if answer.status == ready.status else 0), f"status {answer.status}"
            except OutsideError as error:
                row, last = 0, error.seen
            if row >= ready.successes:
                took = round(world.clock.monotonic() - begun, 3)
                return {"slot": place.name, "port": place.port, "seconds": took}
            if not row and now >= look_at:
                look_at = now + 1.0
                if site.platform.status(target, place.slot).running is Running.DOWN:
                    raise self._not_ready(site, place, url, f"the process has ended; before that: {last}")
            world.clock.sleep(ready.every)
        raise self._not_ready(site, place, url, f"not ready within {ready.within:g} s; last: {last}")

    def _not_ready(self, site: Site, place: Place, url: str, seen: str) -> RolloutFailed:
        target = site.on(place.host)
        lines = target.world.secrets.mask("\n".join(site.platform.log(target, place.slot, 20))).strip()
        silent = "it has written nothing; if it only needs longer to start, raise rollout.ready.within"
        return RolloutFailed(
            seen,
            expected=f"status {self.ready.status} {self.ready.successes} times in a row",
            where=f"{place.name}, {url}",
            do=f"read what it wrote last:\n{lines}" if lines else silent,
        )


def timed(site: Site, step: Step) -> Step:
    """Return a step whose evidence tells the seconds that it took, unless its act has told them."""

    def act() -> Mapping[str, Any]:
        clock = site.target.world.clock
        begun = clock.monotonic()
        found = step.act()
        return {"seconds": round(clock.monotonic() - begun, 3), **found}

    return replace(step, act=act)


def on_each_host(site: Site, act: Callable[[Place], object], places: Sequence[Place]) -> None:
    """Change something in each place: on all hosts at once, and one after the other on each where the platform asks."""
    if site.platform.slots_at_once:
        together(act, places)
        return

    def on_one(host: str) -> None:
        for place in places:
            if place.host == host:
                act(place)

    together(on_one, sorted({place.host for place in places}))


def reachable(site: Site) -> Site:
    """Return the site with those of its hosts that answer, or as it is if none does."""

    def answers(name: str) -> bool:
        try:
            site.on(name).world.host.exists(site.on(name).root)
        except OutsideError:
            return False
        return True

    names = list(site.hosts)
    found = {name: site.hosts[name] for name, up in zip(names, together(answers, names), strict=True) if up}
    return replace(site, hosts=found) if found else site


def router_of(site: Site) -> Router:
    """Return the site's router; raises `ReleaseFileError` if there is none."""
    if site.router is None:
        raise ReleaseFileError(
            "this rollout has no router",
            expected="a router that can switch",
            where="rollout",
            do="add router: {kind: …}",
        )
    return site.router
