"""In which containers of a system a command runs: those of the version that it is about."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tasks.domain.errors import Unreachable
from tasks.domain.ports import Command, Finished
from tasks.domain.target import Target, Within
from tasks.platforms import Platform
from tasks.rollouts import ALIVE, Rollout, Site
from tasks.routers import Router


@dataclass(frozen=True)
class Containers:
    """The containers of a system, by its platform and by the slots that its rollout uses.

    ``of_application`` returns the DSN by which the application reaches the database that golive reaches by another.
    """

    platform: Platform
    rollout: Rollout
    router: Router | None
    of_application: Callable[[str], str]

    def run(self, target: Target, within: Within, command: Command) -> Finished:
        """Run a command within a container of the target's version.

        Raises `Unreachable` if it is to be one that runs, and that version runs nowhere.
        """
        if within.one_off:
            target = target.at(dsn=self.of_application(target.dsn))
        elif not target.slot:
            target = target.at(slot=self._slot(target))
        return self.platform.run(target, within, command)

    def _slot(self, target: Target) -> str:
        site = Site(target, self.platform, self.router)
        for place in self.rollout.places(site):
            status = self.platform.status(target, place.slot)
            if status.running in ALIVE and status.version == target.version:
                return place.slot
        raise Unreachable(f"{target.version} runs in no slot", do="look at what runs by: golive status")
