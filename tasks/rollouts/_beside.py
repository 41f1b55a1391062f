"""What rollouts have in common that start the new version beside the old one."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from pydantic import model_validator

from tasks.domain.errors import OutsideError, RolloutFailed, Unreachable
from tasks.domain.kind import Duration
from tasks.domain.together import together
from tasks.domain.upstream import Upstream
from tasks.platforms import Running
from tasks.rollouts import ALIVE, Place, Rollout, Site, Step, reachable, router_of
from tasks.rollouts._asked import Asked
from tasks.routers import Port

SLOTS = ("blue", "green")


class Probe(Asked):
    """A request by which golive itself looks at a version, on each of its own ports."""

    path: str = "/health"
    """What is asked for."""
    status: int = 200
    """The answer that counts as a success."""
    every: Duration = 0.2
    """How long to wait between two probes of an instance."""
    within: Duration = 5.0
    """How long an answer may take before the probe has failed."""


class Beside(Rollout):
    """Runs two versions beside each other in the slots blue and green, on every host.

    Each act finds out anew where the version runs and where the requests go, so that after a crash all of them can run
    again. Background processes of the new version start when those of the old one have stopped. A version that serves
    already is left as it is.
    """

    needs_router: ClassVar[bool] = True
    ports: tuple[Port, Port]
    """The ports on 127.0.0.1 of the slots blue and green."""
    keep_old: bool | Duration = True
    """Whether the old version stays up, without its background processes, so that going back takes no start but a
    switch of the router: ``true`` until the watch ends, ``false`` not at all, or at least so long after the release
    went live, as in ``15 min``; then the next look of the monitor that finds nothing failed stops it."""
    probe: Probe = Probe()
    """How golive looks at a version that has begun to get requests."""

    @model_validator(mode="after")
    def _two_ports(self) -> Beside:
        if self.ports[0] == self.ports[1]:
            raise ValueError(f"both slots have port {self.ports[0]}; expected two different ports")
        return self

    @property
    def kept_for(self) -> float:
        """`keep_old` in seconds."""
        return math.inf if self.keep_old is True else float(self.keep_old)

    def places(self, site: Site) -> Sequence[Place]:
        """Return both slots on each host."""
        return [place for slot in SLOTS for place in self.in_slot(site, slot)]

    def in_slot(self, site: Site, slot: str) -> list[Place]:
        """Return the places of a slot, one on each host."""
        return [Place(slot, self.ports[SLOTS.index(slot)], host) for host in site.host_names]

    def serving(self, site: Site) -> str | None:
        """Return the version in the places that the router sends requests to."""
        current = router_of(site).current(site.at_router)
        slots = current.slots if current else ()
        return self.one_version(site, [place for place in self.places(site) if place.name in slots])

    def goes_to(self, site: Site, version: str) -> Sequence[Place]:
        """Return the places of the slot in which the version runs, or would be started."""
        return self.in_slot(site, self._slot(site, version))

    def finish(self, site: Site) -> Sequence[Step]:
        """Return the act that stops the slot to which no requests go, on the hosts that can be reached."""
        return [Step("stop the old version", lambda: self._stop_old(reachable(site)))]

    def _coming(self, site: Site, version: str, *, kept: bool = False) -> list[Step]:
        """Return the acts that bring a version up; one that was ``kept`` up serves again just as it is."""
        return [
            Step(f"start {version} beside what serves", lambda: self._start(site, version, kept=kept), mutates=False),
            Step(f"wait until {version} is ready", lambda: self._wait(site, version), mutates=False),
        ]

    def _leaving(self, site: Site, version: str) -> list[Step]:
        steps = [Step("hand the background work over", lambda: self._hand_over(site, version))]
        if not self.keep_old:
            steps.append(Step("stop the old version", lambda: self._stop_old(site)))
        return steps

    def _start(self, site: Site, version: str, *, kept: bool) -> Mapping[str, Any]:
        slot = self._slot(site, version)
        stays = kept or slot in self._pointed_at(site)

        def start(place: Place) -> Mapping[str, Any]:
            if stays and self.version_in(site, place) == version:
                return {"slot": place.name, "port": place.port, "version": version, "seconds": 0.0}
            return self.start(site, place, version, background=False)

        return {"slot": slot, "places": together(start, self.in_slot(site, slot))}

    def _wait(self, site: Site, version: str) -> Mapping[str, Any]:
        slot = self._slot(site, version)
        places = self.in_slot(site, slot)
        try:
            return {"slot": slot, "places": together(lambda place: self.wait_ready(site, place), places)}
        except RolloutFailed:
            if self._idle(site, slot):
                together(lambda place: site.platform.stop(site.on(place.host), slot), places)
            raise

    def _switch(self, site: Site, version: str) -> Mapping[str, Any]:
        """Send all requests to a version."""
        slot = self._running(site, version)
        before = self._pointed_at(site)
        begun = site.target.world.clock.monotonic()
        self._send(site, {slot: 1})
        took = round(site.target.world.clock.monotonic() - begun, 3)
        return {"slot": slot, "before": before, "seconds": took}

    def _send(self, site: Site, shares: Mapping[str, int]) -> None:
        """Let slots share the requests, each with its weight on every host."""
        members = [site.member(place, shares[slot]) for slot in shares for place in self.in_slot(site, slot)]
        router_of(site).switch(site.at_router, Upstream(tuple(members)))

    def _hand_over(self, site: Site, version: str) -> Mapping[str, Any]:
        slot = self._running(site, version)
        platform = site.platform
        together(lambda host: platform.background(site.on(host), other(slot), run=False), site.host_names)
        together(lambda host: platform.background(site.on(host), slot, run=True), site.host_names)
        return {"slot": slot}

    def _stop_old(self, site: Site) -> Mapping[str, Any]:
        slots = self._pointed_at(site)
        if len(slots) != 1 or not any(self.version_in(site, place) for place in self.in_slot(site, slots[0])):
            raise RolloutFailed(
                "no version is up where the requests go" if len(slots) < 2 else "two versions get requests",
                expected="a serving version",
                where=f"slot {', '.join(slots) or None}",
                do="the other slot was left running; find out what happened before it is stopped",
            )
        old = other(slots[0])
        places = self.in_slot(site, old)
        states = together(lambda place: site.platform.status(site.on(place.host), old), places)
        if all(status.running is Running.DOWN and not status.version for status in states):
            return {"stopped": None}
        site.target.world.clock.sleep(self.drain)
        together(lambda place: site.platform.stop(site.on(place.host), old), places)
        return {
            "stopped": next((status.version for status in states if status.version), None),
            "slot": old,
            "drain": self.drain,
        }

    def _running(self, site: Site, version: str) -> str:
        slot = self._slot(site, version)
        for place in self.in_slot(site, slot):
            if self.version_in(site, place) != version:
                raise RolloutFailed(
                    f"{version} is not up", expected="it to be up before it gets work", where=f"slot {place.name}"
                )
        return slot

    def _slot(self, site: Site, version: str) -> str:
        """Return the slot where the version runs, or else the one that gets no requests."""
        versions = self._alive(site)
        same = [slot for slot in SLOTS if version in versions[slot]]
        pointed_at = self._pointed_at(site)
        for slot in (*pointed_at, *same):
            if versions[slot] == {version}:
                return slot
        if len(pointed_at) == 1:
            return other(pointed_at[0])
        if pointed_at or all(versions.values()):
            raise RolloutFailed(
                "both slots get requests" if pointed_at else "both slots run and the router does not say which serves",
                expected="a slot that may be replaced",
                where="blue and green",
                do="release or roll back to one of the two versions first; or stop the slot that is not needed",
            )
        return next(slot for slot in SLOTS if not versions[slot])

    def _alive(self, site: Site) -> Mapping[str, set[str]]:
        """Return the versions that are up or starting in each slot."""
        places = self.places(site)
        states = together(lambda place: site.platform.status(site.on(place.host), place.slot), places)
        return {
            slot: {
                status.version
                for place, status in zip(places, states, strict=True)
                if place.slot == slot and status.running in ALIVE
            }
            for slot in SLOTS
        }

    def _idle(self, site: Site, slot: str) -> bool:
        """Tell whether the router says that no requests go to the slot; one that cannot be asked says nothing."""
        try:
            current = router_of(site).current(site.at_router)
        except (OutsideError, RolloutFailed):
            return False
        return current is None or not {place.name for place in self.in_slot(site, slot)} & set(current.slots)

    def _pointed_at(self, site: Site) -> list[str]:
        """Return the slots that get requests: two at most, and none where the router is down, which sends nothing."""
        try:
            current = router_of(site).current(site.at_router)
        except Unreachable:
            return []  # the next switch starts it or fails
        names = current.slots if current else ()
        # By their beginning, so that a place on a host that is left out now counts too.
        return [slot for slot in SLOTS if any(name == slot or name.startswith(f"{slot}-") for name in names)]


def other(slot: str) -> str:
    """Return the slot beside a slot."""
    return SLOTS[1 - SLOTS.index(slot)]
