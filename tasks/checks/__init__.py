"""Checks: each looks at one thing and says what it saw. One file per kind, found by its file."""

from __future__ import annotations

from abc import abstractmethod
from typing import Annotated

from pydantic import Field

from tasks.domain.kind import Duration, Kind
from tasks.domain.outcome import Reading
from tasks.domain.target import Target


class Check(Kind):
    """Looks at one thing of a target and judges it."""

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
    """What a person should look at when it fails."""

    @abstractmethod
    def look(self, target: Target) -> Reading:
        """Return what is seen. An exception counts as unknown: it is trouble of the look, not of the target."""
