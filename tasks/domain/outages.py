"""Outages: from when until when nothing answered, as closely as the looks at both ends tell."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from tasks.domain.outcome import Outcome
from tasks.domain.triggers import IN_A_ROW

AGAIN = "again"
"""The source of second looks after ticks that were not answered: they tell how long an outage was, and no more."""


@dataclass(frozen=True)
class Seen:
    """One look that came out passed or failed; ``again`` if it is a second one, after a tick that was not answered."""

    at: datetime
    outcome: Outcome
    again: bool = False


@dataclass(frozen=True)
class Span:
    """One outage: the first look that failed, and the first success after the last one, if there was any.

    ``seconds`` is how long it lasted, right to ``off`` either way. Without ``off``, as where no success was seen before
    or after it, it is the least that it lasted.
    """

    began: datetime
    ended: datetime | None
    seconds: float
    off: float | None
    failed: int


def spans(looks: Sequence[Seen]) -> list[Span]:
    """Return the outages in the looks of one check, in order: three failures in a row and more, second looks apart.

    An outage begins between the last success before it and its first failure, and ends between its last failure and
    the next success. It is taken to do so in the middle, so each end is off by half of what lies between at most. With
    second looks each third of an interval those are a half and a sixth of one; a request that failed by chance right
    beside the outage adds a third, and never makes it more than a whole one.
    """
    known = list(_not_by_chance(sorted(looks, key=lambda look: look.at)))
    rows = [list(row) for _, row in itertools.groupby(known, key=lambda look: look.outcome)]
    found = []
    for before, row, after in zip([None, *rows], rows, [*rows[1:], None], strict=False):
        failed = sum(not look.again for look in row)
        if row[0].outcome is Outcome.FAILED and failed >= IN_A_ROW:
            found.append(_span(before[-1].at if before else None, row, after[0].at if after else None, failed))
    return found


def _not_by_chance(looks: Sequence[Seen]) -> Iterator[Seen]:
    """Yield the looks without each tick that failed between a success and a second look that passed: one request."""
    before = Outcome.PASSED
    for look, after in itertools.zip_longest(looks, looks[1:]):
        refuted = after is not None and after.again and after.outcome is Outcome.PASSED
        if look.again or look.outcome is Outcome.PASSED or before is not Outcome.PASSED or not refuted:
            before = look.outcome
            yield look


def _span(passed: datetime | None, row: Sequence[Seen], ended: datetime | None, failed: int) -> Span:
    first, last = row[0].at, row[-1].at
    lasted = (last - first).total_seconds()
    if passed is None or ended is None:
        return Span(first, ended, lasted, None, failed)
    off = ((first - passed) + (ended - last)).total_seconds() / 2
    return Span(first, ended, lasted + off, off, failed)
