"""Traffic: where the clients' own requests are counted while a release is watched. One file per kind."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, ClassVar

from pydantic import Field

from tasks.domain.kind import Duration, Kind
from tasks.domain.target import Target
from tasks.domain.traffic import Traffic
from tasks.routers import Router

TIMEOUT = 5.0
"""Seconds that a reading may take: it goes along with a probe."""


@dataclass(frozen=True)
class Reading:
    """What was read: the requests since the reading before, if that can be told, and counters for the next one."""

    traffic: Traffic | None
    counters: Mapping[str, Traffic] = field(default_factory=dict)


class TrafficSource(Kind):
    """Tells what the clients' own requests came to, whoever counts them."""

    of_router: ClassVar[bool] = False
    """Whether it is the release file's router that counts."""

    every: Annotated[Duration, Field(gt=0)] = 60.0
    """How often it is read; the guard does so along with its probes, so not more often than those."""

    @property
    def shortest(self) -> float:
        """The least seconds of which it can tell."""
        return 0.0

    @abstractmethod
    def read(self, target: Target, router: Router | None, before: Reading | None, seconds: float) -> Reading:
        """Return what the requests of the last seconds came to, ``before`` being the reading at their beginning.

        Where the router counts, ``target`` is production as its machine sees it. Raises `OutsideError` where nobody
        answers, or not with what was asked.
        """
