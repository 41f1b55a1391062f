"""Checks: each looks at one thing and says what it saw. One file per kind, found by its file."""

from __future__ import annotations

from abc import abstractmethod
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from tasks.domain.kind import Duration, Kind
from tasks.domain.outcome import Reading
from tasks.domain.target import Target, Within


class Check(Kind):
    """Looks at one thing of a target and judges it."""

    alone: ClassVar[bool] = False
    """Whether it counts what others do meanwhile as well, so that it looks once all others of its phase have looked."""

    advice: ClassVar[str] = ""
    """What a person should look at when a check of this kind fails and its ``help`` does not say it better."""

    name: Annotated[str, Field(min_length=1, max_length=120, examples=["API answers"])]
    """What is checked, in the words of the checklist; unique within a release file."""
    covers: tuple[str, ...] = ()
    """Ids of the checklist rows that this check decides, as in ``[OR-101]``."""
    timeout: Duration = 30.0
    """After how long the look is given up and counts as unknown."""
    advisory: bool = False
    """Report the outcome but let it decide nothing."""
    rollback: bool = False
    """While the release is watched, two failures in a row roll it back."""
    help: str = ""
    """What a person should look at when it fails; by default the advice of its kind, where that has one. It stands in
    alerts and reports."""
    on: Literal["hosts", "golive"] | None = None
    """Where it looks from: each of the file's ``hosts``, all of which must pass, or golive's own machine. By default
    what is looked at on a machine is looked at on each host, and what is asked for is asked from golive's own."""

    of_machine: ClassVar[bool] = False
    """Whether this kind looks at the machine that the system runs on."""

    @property
    def on_hosts(self) -> bool:
        """Whether it looks at each host of a system that has some."""
        return self.on == "hosts" or (self.on is None and self.of_machine)

    @property
    def inside(self) -> Within | None:
        """The container within which it looks, where it looks within one."""
        return None

    @property
    def compares(self) -> bool:
        """Whether it can tell nothing without what a release recorded before it."""
        return False

    def acts(self, phase: str) -> str:  # noqa: ARG002 - for the kinds to which it matters
        """Return in words what it does besides looking when it is made in a phase; empty if it only looks."""
        return ""

    @abstractmethod
    def look(self, target: Target) -> Reading:
        """Return what is seen. An exception counts as unknown: it is trouble of the look, not of the target."""
