"""A version started once, by itself and for nobody: so that it does to a database what it does whenever it starts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tasks.domain.target import ONCE, Target
from tasks.platforms import Instance, Platform
from tasks.rollouts import Place, Rollout, Site


@dataclass(frozen=True)
class Starting:
    """Starts versions of a system by its platform; ``of_application`` is as for `Containers`."""

    platform: Platform
    rollout: Rollout
    of_application: Callable[[str], str]

    def once(self, target: Target, within: float) -> None:
        """Start the target's version against its database on a port of its own, and stop it once it is ready.

        Raises `RolloutFailed` with the last lines of its log if it ends before, or is not ready in time.
        """
        port = target.world.host.free_port()
        dsn = self.of_application(target.dsn)
        at = target.at(dsn=dsn, port=port, slot=ONCE, base_url=f"http://127.0.0.1:{port}")
        patient = self.rollout.model_copy(update={"ready": self.rollout.ready.model_copy(update={"within": within})})
        try:
            self.platform.start(at, Instance(ONCE, at.version, at.release_dir, port, dsn, background=False))
            patient.wait_ready(Site(at, self.platform, None), Place(ONCE, port))
        finally:
            self.end(target)

    def end(self, target: Target) -> None:
        """End what a process that was killed has left of it; nothing there is fine."""
        self.platform.stop(target.at(slot=ONCE), ONCE)
