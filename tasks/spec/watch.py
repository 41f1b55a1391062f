"""The section of the release file that says how a release is watched, in which stages, and what counts as stable."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

from pydantic import ConfigDict, Field, model_validator

from tasks import traffic
from tasks.domain.kind import Duration, Share, Strict
from tasks.domain.units import show_seconds
from tasks.domain.watch import COVERAGE, ERROR_RATE
from tasks.spec.kinds import union_of
from tasks.spec.sign_off import Signers
from tasks.traffic import TrafficSource

if TYPE_CHECKING:
    AnyTraffic = TrafficSource
else:
    AnyTraffic = union_of(traffic)

CheckName = Annotated[str, Field(min_length=1, examples=["API answers"])]
Names = tuple[CheckName, ...]
At = tuple[str | int, ...]


class ProbePlan(Strict):
    """The continuous look of the guard between two looks of the monitor."""

    every: Duration = 30.0
    """How often."""
    check: str
    """The name of the check of phase ``watch`` or ``health`` that it makes."""
    control: str | None = None
    """The URL of something else that must answer before the target is blamed; by default the loopback counts."""


class Success(Strict):
    """What must hold at the end of a stage for its verdict to be stable, besides ``watch.coverage``.

    Always: that no trigger has fired, and that every check which decides passed when it was last made.
    """

    errors: Annotated[Share, Field(gt=0, le=1)] = ERROR_RATE
    """The share of failed probes, and of failed requests of clients, that must not be reached."""
    slower: Annotated[Share, Field(ge=0)] | None = None
    """By how much the median of the probes may be above that of the baseline; not judged if left out."""
    floor: Duration = 0.005
    """By how much the median may have grown in any case, so that a fast service may vary."""
    extend: Share = 0.25
    """By which part of ``for`` the first stage is extended where too little is known for a verdict. What has failed is
    not waited for."""
    extensions: Annotated[int, Field(ge=0)] = 1
    """How often, before a person is asked."""


class Stage(Strict):
    """A stage of the watch after the first: the release is stable, and looked at more rarely."""

    model_config = ConfigDict(populate_by_name=True)

    every: Annotated[Duration, Field(gt=0)] = 86400.0
    """How long passes between two looks; the first is so long after the stage before has ended."""
    for_: Annotated[Duration, Field(gt=0, alias="for")] = 604800.0
    """For how long, before its verdict."""
    checks: Names = ()
    """The names of the checks of phase ``watch``, ``health`` or ``review`` that each look makes; those of phase
    ``watch`` if left out."""
    report: bool = True
    """Whether each look is followed by a status report to people."""
    rollback: bool = False
    """Whether golive takes the release back by itself if a trigger or a check with ``rollback: true`` fires in this
    stage; otherwise people are told."""
    sign_off: tuple[Signers, ...] = ()
    """Roles that sign once the stage has its verdict, as for a review after seven days; nothing waits for them."""

    @property
    def name(self) -> str:
        """The stage in words."""
        return f"every {show_seconds(self.every)} for {show_seconds(self.for_)}"

    @property
    def looks(self) -> int:
        """How many looks it has."""
        return max(1, round(float(self.for_) / float(self.every)))


class Watch(Strict):
    """How a release is watched once it is live: guarded and looked at often first, then more rarely in later stages."""

    every: Duration = 3600.0
    """How long passes at least between two looks of the monitor. Prefect starts it hourly, so less than ``1h`` needs
    another schedule in ``prefect.yaml``."""
    for_: Annotated[Duration, Field(alias="for")] = 86400.0
    """For how long, before the verdict."""
    probe: ProbePlan | None = None
    """What the guard probes; required to judge how long the system was down."""
    traffic: AnyTraffic | None = None
    """Who counts the clients' own requests. By these errors are judged wherever a window has 100 of them, and the
    verdict too: clients may fail where the probe's own request does not. Otherwise by the probes."""
    coverage: Annotated[float, Field(gt=0, le=1)] = COVERAGE
    """The least share of the expected probes that must have been made for a verdict."""
    at: dict[Duration, Names] = Field(default_factory=dict)
    """Checks of phase ``health`` or ``review`` for one moment only, by how long after going live that is: ``0s`` is
    right after it, the others are made by the first look from then on. What does not pass is made again at each look
    until it does."""
    then: tuple[Stage, ...] = ()
    """The later stages, one after the other. They begin once the release is stable, hold up no other one, and end when
    another one goes live."""
    success: Success = Success()
    """What must hold at the end of a stage."""

    @model_validator(mode="after")
    def _moments_are_within(self) -> Watch:
        if late := [after for after in self.at if after > self.for_]:
            raise ValueError(
                f"at {show_seconds(min(late))} the watch of {show_seconds(self.for_)} is over; "
                "expected a moment within it, or a later stage"
            )
        return self

    def named(self) -> Iterator[tuple[str, At, tuple[str, ...]]]:
        """Yield each check that is named, with the place in the section and the phases that it may be of."""
        for names in self.at.values():
            for name in names:
                yield name, ("at",), ("health", "review")
        for number, stage in enumerate(self.then):
            for index, name in enumerate(stage.checks):
                yield name, ("then", number, "checks", index), ("watch", "health", "review")
