"""The rollout rolling."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator

from tasks.domain.errors import OutsideError, ReleaseFileError, RolloutFailed
from tasks.domain.together import together
from tasks.domain.upstream import Upstream
from tasks.rollouts import Place, Rollout, Site, Step, on_each_host, reachable, router_of, timed
from tasks.routers import Port


class Rolling(Rollout):
    """Replaces the instances of the old version one after the other, each healthy before the next is touched.

    An instance is taken out of the router's pool, drained, stopped, started anew, and put back when it is ready. Old
    and new answer beside each other in the meantime. Instances that get no requests come first, so that a roll that was
    broken off is repaired by the same steps. A rollback replaces as many at a time as `max_unavailable` allows.
    Background processes run in the first slot of each host, which comes last; those of the new version start when all
    instances are new.
    """

    needs_router: ClassVar[bool] = True

    kind: Literal["rolling"] = "rolling"
    """Which kind of rollout this is."""
    ports: Annotated[tuple[Port, ...], Field(min_length=1)]
    """The ports on 127.0.0.1 of the instances on each host; their slots are ``web-1``, ``web-2`` and so on."""
    batch: Annotated[int, Field(ge=1)] = 1
    """How many instances are replaced at a time."""
    max_unavailable: Annotated[int, Field(ge=1)] = 1
    """How many instances may be without requests at a time, those counted that have failed meanwhile. A rollback takes
    so many at a time."""

    @field_validator("ports")
    @classmethod
    def _different(cls, ports: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(ports)) != len(ports):
            raise ValueError(f"two instances have the same port in {', '.join(map(str, ports))}")
        return ports

    def places(self, site: Site) -> Sequence[Place]:
        """Return each instance, host by host."""
        return [
            Place(f"web-{number}", port, host)
            for host in site.host_names
            for number, port in enumerate(self.ports, start=1)
        ]

    def serving(self, site: Site) -> str | None:
        """Return the version of all instances in the router's pool."""
        return self.one_version(site, self._pool(site))

    def steps(self, site: Site, version: str) -> Sequence[Step]:
        """Return the acts: look, mend what gets no requests, replace the others batch by batch, hand over."""
        return self._acts(site, version, min(self.batch, self.max_unavailable))

    def back(self, site: Site, version: str) -> Sequence[Step]:
        """Return the same acts in the fewest batches, on the hosts that can be reached."""
        up = reachable(site)
        return self._acts(up, version, max(1, min(self.max_unavailable, len(self.places(up)) - 1)), back=True)

    def _acts(self, site: Site, version: str, size: int, *, back: bool = False) -> list[Step]:
        last_first = sorted(self.places(site), key=lambda place: place.slot, reverse=True)
        batches = [last_first[at : at + size] for at in range(0, len(last_first), size)]
        acts = [
            Step("look at every instance", lambda: self._look(site), mutates=False),
            Step(f"start {version} where no requests go", lambda: self._mend(site, version)),
            *(
                Step(
                    f"replace {', '.join(place.name for place in batch)} by {version}",
                    partial(self._replace, site, version, batch, back=back),
                )
                for batch in batches
            ),
            Step("hand the background work over", lambda: self._hand_over(site, version)),
        ]
        return [timed(site, step) for step in acts]

    def finish(self, site: Site) -> Sequence[Step]:  # noqa: ARG002
        """Return nothing: each instance of the old version was stopped when it was replaced."""
        return ()

    def require_possible(self, site: Site) -> None:
        """Raise `ReleaseFileError` unless an instance is left while others are replaced."""
        count, size = len(self.places(site)), min(self.batch, self.max_unavailable)
        if count <= size:
            raise ReleaseFileError(
                f"{size} of {count} instances are replaced at a time",
                expected="more instances than that",
                where="rollout.ports",
                do="add ports or hosts, or take another kind of rollout",
            )

    def _pool(self, site: Site) -> list[Place]:
        current = router_of(site).current(site.at_router)
        return [place for place in self.places(site) if current and place.name in current.slots]

    def _look(self, site: Site) -> Mapping[str, Any]:
        """Look at all before one is touched; what the router cannot say, or a host, is raised."""
        places = self.places(site)
        try:
            pool = self._pool(site)
        except OutsideError as error:
            up = [place for place in places if self.version_in(site, place)]
            if not up:
                raise
            try:
                self._send(site, up)  # golive's own is started by that
            except RolloutFailed as failed:
                raise failed from error
            pool = up
        found = together(lambda place: self.version_in(site, place), places)
        return {
            "pool": [place.name for place in pool],
            "versions": {p.name: v for p, v in zip(places, found, strict=True)},
        }

    def _mend(self, site: Site, version: str) -> Mapping[str, Any]:
        """Bring up the instances that get no requests or are down, and give the router all that are there."""
        places, pool = self.places(site), self._pool(site)
        answers = together(lambda place: self._answers(site, place), places)
        up = [place for place, does in zip(places, answers, strict=True) if does and place in pool]
        out = [place for place in places if place not in up]
        current = router_of(site).current(site.at_router)
        if up and current and set(current.slots) != {place.name for place in up}:
            self._send(site, up)  # without those that are down, or on hosts that are left out
        if out:
            # One that is up and does not answer has to be started anew, whatever its version.
            mute = [place for place, does in zip(places, answers, strict=True) if not does]
            on_each_host(site, lambda place: site.platform.stop(site.on(place.host), place.slot), mute)
            self._bring_up(site, version, out)
            self._send(site, [*up, *out])
        return {"started": [place.name for place in out]}

    def _replace(self, site: Site, version: str, batch: Sequence[Place], *, back: bool) -> Mapping[str, Any]:
        pool = self._pool(site)
        found = together(lambda place: self.version_in(site, place), batch)
        old = [place for place, up in zip(batch, found, strict=True) if place not in pool or up != version]
        if not old:
            return {"replaced": []}
        if not back:  # there one that falls ill again is no reason to leave the others with what failed
            self._require_healthy(site, version, [place for place in pool if place not in old])
        stay = [place for place in pool if place not in old]
        missing = [place.name for place in self.places(site) if place not in pool and place not in old]
        if not stay or len(missing) + len(old) > self.max_unavailable:
            raise RolloutFailed(
                f"{len(stay)} instances would be left"
                + (f"; without requests already: {', '.join(missing)}" if missing else ""),
                expected=f"at least one, and at most {self.max_unavailable} without requests",
                where=", ".join(place.name for place in old),
                do="roll back, which brings up first what gets no requests; a single instance cannot be rolled",
            )
        self._send(site, stay)
        site.target.world.clock.sleep(self.drain)
        self._bring_up(site, version, old)
        self._send(site, [*stay, *old])
        return {"replaced": [place.name for place in old]}

    def _answers(self, site: Site, place: Place) -> bool:
        if not self.version_in(site, place):
            return False
        try:
            self.ready.ask(site.on(place.host), place.port, self.ready.path, 5.0)
        except OutsideError:
            return False
        return True

    def _bring_up(self, site: Site, version: str, places: Sequence[Place]) -> None:
        """Start the version in places that get no requests; one that does not come up is stopped there."""
        on_each_host(site, lambda place: self.start(site, place, version, background=False), places)
        try:
            together(lambda place: self.wait_ready(site, place), places)
        except RolloutFailed:
            on_each_host(site, lambda place: site.platform.stop(site.on(place.host), place.slot), places)
            raise

    def _require_healthy(self, site: Site, version: str, places: Sequence[Place]) -> None:
        """Ask the instances that are new already once more before the next is touched."""
        found = together(lambda place: self.version_in(site, place), places)
        new = [place for place, up in zip(places, found, strict=True) if up == version]
        together(lambda place: self.wait_ready(site, place), new)

    def _send(self, site: Site, places: Sequence[Place]) -> None:
        members = [site.member(place) for place in self.places(site) if place in places]
        router_of(site).switch(site.at_router, Upstream(tuple(members)))

    def _hand_over(self, site: Site, version: str) -> Mapping[str, Any]:
        places = self.places(site)
        self._require_healthy(site, version, places)
        if (serving := self.one_version(site, places)) != version:
            raise RolloutFailed(f"{serving or 'nothing'} is up", expected=version, do="roll back")
        first = [place for place in places if place.port == self.ports[0]]
        together(lambda place: site.platform.background(site.on(place.host), place.slot, run=True), first)
        return {"background": [place.name for place in first]}
