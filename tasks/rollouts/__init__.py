"""Rollouts: how a new version takes over from the old. One file per kind, found by its file."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from tasks.domain.kind import Duration, Kind, Strict
from tasks.domain.target import Target
from tasks.platforms import Platform
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
class Site:
    """Where a rollout works: the target it brings up, the code's directory, and the parts that do the work."""

    target: Target
    platform: Platform
    router: Router | None
    release_dir: Path
    root: Path
    detail: Mapping[str, str] = field(default_factory=dict)


class Rollout(Kind):
    """Brings a version into service. A rollback is the same steps with the previous version."""

    ready: Ready = Ready()
    """When a started instance counts as ready for requests."""
    drain: Duration = 5.0
    """How long requests under way on the old version may take before it is stopped."""

    @abstractmethod
    def serving(self, site: Site) -> str | None:
        """Return the version that serves now, as the router and the platform report it; None if none does."""

    @abstractmethod
    def steps(self, site: Site, version: str) -> Sequence[Step]:
        """Return the acts that bring ``version`` (its code in ``site.release_dir``) into service."""

    @abstractmethod
    def finish(self, site: Site) -> Sequence[Step]:
        """Return the acts that end the release for good: what served before is stopped."""
