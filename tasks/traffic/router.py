"""The traffic router."""

from __future__ import annotations

from typing import ClassVar, Literal

from tasks.domain.errors import OutsideError
from tasks.domain.target import Target
from tasks.domain.traffic import grown
from tasks.routers import Router
from tasks.traffic import Reading, TrafficSource


class ByRouter(TrafficSource):
    """Reads the counters of the release file's own router: a request failed if it got 500 or more, or no answer."""

    of_router: ClassVar[bool] = True
    kind: Literal["router"] = "router"
    """Where requests are counted."""

    def read(
        self,
        target: Target,
        router: Router | None,
        before: Reading | None,
        seconds: float,  # noqa: ARG002 - counters tell by themselves since when
    ) -> Reading:
        """Return by how much the router's counters have grown; the first reading tells nothing but where they stand."""
        counters = router.tally(target) if router is not None else None
        if counters is None:
            raise OutsideError("the router does not count requests", where="router.kind")
        return Reading(grown(before.counters, counters) if before is not None else None, counters)
