"""The rollout blue_green."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field

from tasks.domain.errors import RolloutFailed
from tasks.domain.kind import Duration
from tasks.rollouts import Site, Step, reachable, timed
from tasks.rollouts._beside import Beside, other
from tasks.rollouts._probing import Seen, probe_for


class BlueGreen(Beside):
    """Starts the new version beside the old one, and then sends the requests to it in one step.

    With ``soak`` the new version is probed for a while after that, and the requests go back to the old one at once when
    it fails. Background processes of the new version start when those of the old one have stopped.
    """

    kind: Literal["blue_green"] = "blue_green"
    """Which kind of rollout this is."""
    soak: Duration = 0.0
    """How long the new version is probed after the switch before the background work is handed over to it."""
    failures: Annotated[int, Field(ge=1)] = 3
    """After how many failed rounds of probes in a row the requests go back to the old version."""

    def steps(self, site: Site, version: str) -> Sequence[Step]:
        """Return the acts: start beside, wait, switch, soak, hand the background work over, end the old if wanted."""
        soak = [Step(f"probe {version} for a while", lambda: self._soak(site, version))] if self.soak else []
        return [timed(site, step) for step in self._acts(site, version, soak)]

    def back(self, site: Site, version: str) -> Sequence[Step]:
        """Return the same acts without the soak, on the hosts that can be reached."""
        up = reachable(site)
        return [timed(up, step) for step in self._acts(up, version, [], kept=True)]

    def _acts(self, site: Site, version: str, soak: Sequence[Step], *, kept: bool = False) -> list[Step]:
        switch = Step(f"switch the router to {version}", lambda: self._switch(site, version))
        return [*self._coming(site, version, kept=kept), switch, *soak, *self._leaving(site, version)]

    def _soak(self, site: Site, version: str) -> Mapping[str, Any]:
        slot = self._running(site, version)

        def enough(seen: Mapping[str, Seen]) -> bool:
            return seen[slot].row >= self.failures

        seen = probe_for(self.soak, site, self.probe, {slot: self.in_slot(site, slot)}, enough)[slot]
        if seen.row:
            raise self._gone_back(site, other(slot), seen)
        return {"slot": slot, "asked": seen.probes.asked, "failed": seen.failed}

    def _gone_back(self, site: Site, old: str, seen: Seen) -> RolloutFailed:
        """Send the requests back to the old version if it is up, and return the error that says so."""
        if not all(self.version_in(site, place) for place in self.in_slot(site, old)):
            done = "nothing is up to which the requests could go back"
        else:
            self._send(site, {old: 1})
            took = site.target.world.clock.monotonic() - seen.since
            done = f"the requests went back to {old} {took:.2f} s after the first failed probe of this row"
        return RolloutFailed(
            f"{seen.row} failed rounds of probes in a row at the end, the last: {seen.last}",
            expected=f"status {self.probe.status} of {self.probe.path} for {self.soak:g} s",
            where=f"slot {other(old)}",
            do=f"{done}; look at what the version wrote",
        )
