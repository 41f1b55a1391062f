"""The later stages of a watch: when each look of them is due, and which a look made late stands for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta


@dataclass(frozen=True)
class Plan:
    """How a stage goes: ``looks`` of them, ``every`` so many seconds, over ``length`` seconds."""

    every: float
    length: float
    looks: int


@dataclass(frozen=True)
class Due:
    """A look that is due: number ``number`` of ``of`` in stage ``stage`` (from 0); the last one ends its stage."""

    stage: int
    number: int
    of: int
    at: datetime

    @property
    def last(self) -> bool:
        """Whether the stage ends with it."""
        return self.number == self.of


def begins(plans: Sequence[Plan], began: datetime) -> list[datetime]:
    """Return when each stage begins, and at the end when the last one is over."""
    moments = [began]
    for plan in plans:
        moments.append(moments[-1] + timedelta(seconds=plan.length))
    return moments


def schedule(plans: Sequence[Plan], began: datetime) -> Iterator[Due]:
    """Yield every look of the stages, in order; the last of a stage is due when the stage is over."""
    moments = begins(plans, began)
    for stage, plan in enumerate(plans):
        for number in range(1, plan.looks):
            yield Due(stage, number, plan.looks, moments[stage] + timedelta(seconds=number * plan.every))
        yield Due(stage, plan.looks, plan.looks, moments[stage + 1])


def due(plans: Sequence[Plan], began: datetime, done: datetime | None, now: datetime) -> list[Due]:
    """Return the looks that are due now and that nothing stands for yet; ``done`` is up to when something does.

    However many there are, one look is made, and stands for the newest: what was missed cannot be seen any more.
    """
    return [one for one in schedule(plans, began) if one.at <= now and (done is None or one.at > done)]
