"""The rollout blue_green."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

from pydantic import model_validator

from tasks.domain.errors import OutsideError, ReleaseFileError, RolloutFailed, Unreachable
from tasks.domain.upstream import Upstream
from tasks.platforms import Instance, Running
from tasks.rollouts import Rollout, Site, Step
from tasks.routers import Port, Router

SLOTS = ("blue", "green")


class BlueGreen(Rollout):
    """Starts the new version beside the old one, and then sends the requests to it in one step.

    Each act finds out anew where the version runs and where the requests go, so that after a crash all of them can run
    again. Background processes of the new version start when those of the old one have stopped. A version that serves
    already is left as it is.
    """

    kind: Literal["blue_green"] = "blue_green"
    """Which kind of rollout this is."""
    needs_router: ClassVar[bool] = True
    ports: tuple[Port, Port]
    """The ports on 127.0.0.1 of the slots blue and green."""
    keep_old: bool = True
    """Whether the old version stays up, without its background processes, until the release ends, so that going back
    takes no start."""

    @model_validator(mode="after")
    def _two_ports(self) -> BlueGreen:
        if self.ports[0] == self.ports[1]:
            raise ValueError(f"both slots have port {self.ports[0]}; expected two different ports")
        return self

    def places(self) -> Mapping[str, int]:
        """Return both slots."""
        return dict(zip(SLOTS, self.ports, strict=True))

    def serving(self, site: Site) -> str | None:
        """Return the version in the slot that the router points at."""
        current = _router(site).current(site.target)
        return self.serving_in(site, current.slots[0]) if current else None

    def steps(self, site: Site, version: str) -> Sequence[Step]:
        """Return the acts: start beside, wait, switch, hand the background work over, end the old if so wanted."""
        steps = [
            Step(f"start {version} beside what serves", lambda: self._start(site, version), mutates=False),
            Step(f"wait until {version} is ready", lambda: self._wait(site, version), mutates=False),
            Step(f"switch the router to {version}", lambda: self._switch(site, version)),
            Step("hand the background work over", lambda: self._hand_over(site, version)),
        ]
        if not self.keep_old:
            steps.append(Step("stop the old version", lambda: self._stop_old(site)))
        return steps

    def finish(self, site: Site) -> Sequence[Step]:
        """Return the act that stops the slot to which no requests go."""
        return [Step("stop the old version", lambda: self._stop_old(site))]

    def _start(self, site: Site, version: str) -> Mapping[str, Any]:
        slot = self._place(site, version)
        port = self._port(slot)
        if self._pointed_at(site) == slot and self.serving_in(site, slot) == version:
            return {"slot": slot, "port": port, "version": version, "seconds": 0.0}
        instance = Instance(slot, version, site.release_dir, port, site.target.dsn, background=False)
        return self.start(site, instance)

    def _wait(self, site: Site, version: str) -> Mapping[str, Any]:
        slot = self._place(site, version)
        try:
            return self.wait_ready(site, slot, self._port(slot))
        except RolloutFailed:
            if self._idle(site, slot):
                site.platform.stop(site.target, slot)
            raise

    def _switch(self, site: Site, version: str) -> Mapping[str, Any]:
        slot = self._running(site, version)
        clock, before = site.target.world.clock, self._pointed_at(site)
        begun = clock.monotonic()
        _router(site).switch(site.target, Upstream.one(slot, f"127.0.0.1:{self._port(slot)}"))
        took = round(clock.monotonic() - begun, 3)
        return {"slot": slot, "port": self._port(slot), "before": before, "seconds": took}

    def _hand_over(self, site: Site, version: str) -> Mapping[str, Any]:
        slot = self._running(site, version)
        site.platform.background(site.target, _other(slot), run=False)
        site.platform.background(site.target, slot, run=True)
        return {"slot": slot}

    def _stop_old(self, site: Site) -> Mapping[str, Any]:
        slot = self._pointed_at(site)
        if slot is None or self.serving_in(site, slot) is None:
            raise RolloutFailed(
                "no version is up where the requests go",
                expected="a serving version",
                where=f"slot {slot}",
                do="the other slot was left running; find out what happened before it is stopped",
            )
        old = _other(slot)
        status = site.platform.status(site.target, old)
        if status.running is Running.DOWN and not status.version:
            return {"stopped": None}
        site.target.world.clock.sleep(self.drain)
        site.platform.stop(site.target, old)
        return {"stopped": status.version or None, "slot": old, "drain": self.drain}

    def _port(self, slot: str) -> int:
        return self.ports[SLOTS.index(slot)]

    def _running(self, site: Site, version: str) -> str:
        slot = self._place(site, version)
        if self.serving_in(site, slot) != version:
            raise RolloutFailed(
                f"{version} is not up", expected="it to be up before it gets work", where=f"slot {slot}"
            )
        return slot

    def _place(self, site: Site, version: str) -> str:
        """Return the slot where the version runs, or else the one that gets no requests."""
        states = {slot: site.platform.status(site.target, slot) for slot in SLOTS}
        alive = [slot for slot in SLOTS if states[slot].running in {Running.UP, Running.STARTING}]
        pointed_at = self._pointed_at(site)
        same = [slot for slot in alive if states[slot].version == version]
        if same:
            return pointed_at if pointed_at in same else same[0]
        if pointed_at:
            return _other(pointed_at)
        if len(alive) == len(SLOTS):
            raise RolloutFailed(
                "both slots run and the router does not say which one serves",
                expected="a slot that may be replaced",
                where="blue and green",
                do="bring the router up, or stop the slot that is not needed",
            )
        return next(slot for slot in SLOTS if slot not in alive)

    def _idle(self, site: Site, slot: str) -> bool:
        """Tell whether the router says that no requests go to the slot; one that cannot be asked says nothing."""
        try:
            current = _router(site).current(site.target)
        except (OutsideError, RolloutFailed):
            return False
        return current is None or slot not in current.slots

    def _pointed_at(self, site: Site) -> str | None:
        try:
            current = _router(site).current(site.target)
        except Unreachable:
            return None  # A router that is down sends nothing anywhere; the next switch starts it or fails.
        return current.slots[0] if current and current.slots[0] in SLOTS else None


def _other(slot: str) -> str:
    return SLOTS[1 - SLOTS.index(slot)]


def _router(site: Site) -> Router:
    if site.router is None:
        raise ReleaseFileError(
            "blue_green has no router", expected="a router that can switch", where="rollout", do="add router: {kind: …}"
        )
    return site.router
