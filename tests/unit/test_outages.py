"""How long an outage was, by looks that are drawn as letters: one each 10 s, of which every third one is a tick."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from tasks.domain.outages import Seen, Span, spans
from tasks.domain.outcome import Outcome

START = datetime(2026, 1, 6, 2, 0, tzinfo=UTC)
OF_LETTER = {"P": Outcome.PASSED, "F": Outcome.FAILED}


def seen(letters: str) -> list[Seen]:
    """A tick each 30 s, and between two of them second looks; a dot is one that was not made."""
    return [
        Seen(START + timedelta(seconds=10 * number), OF_LETTER[letter], again=number % 3 > 0)
        for number, letter in enumerate(letters)
        if letter != "."
    ]


def the_one(letters: str) -> Span:
    (found,) = spans(seen(letters))
    return found


@pytest.mark.parametrize(
    ("letters", "seconds", "off", "failed"),
    [
        ("P..F..F..F..P", 90, 30, 3),  # no second looks, as with an older golive
        ("P..FFFFFFFFFP", 100, 20, 3),
        ("P..FFFFFFFP", 80, 20, 3),  # it ended right after a tick
        ("P..FP.FFFFFFFFFP", 95, 15, 3),  # a request that failed by chance right before
        ("P..FFFFFFFFFFP..P", 110, 20, 4),  # and right after, where it may have been the end as well
        ("P........FFFFFFFFF......P", 160, 80, 3),  # the prober was away
    ],
)
def test_the_ends_lie_in_the_middle_of_what_is_known(letters, seconds, off, failed):
    assert [(one.seconds, one.off, one.failed) for one in spans(seen(letters))] == [(seconds, off, failed)]


def test_where_no_success_was_seen_before_or_after_it_is_the_least_that_it_lasted():
    assert (the_one("FFFFFFFFFP").seconds, the_one("FFFFFFFFFP").off) == (80, None)
    open_end = the_one("P..FFFFFFFFF")
    assert (open_end.seconds, open_end.off, open_end.ended) == (80, None, None)


def test_what_answers_between_is_no_outage():
    assert spans(seen("P..FP.FP.FP.FP.P")) == []
    assert [one.failed for one in spans(seen("P..FFFFFFFFFP..FFFFFFFFFP"))] == [3, 3]


def test_it_is_right_to_half_a_minute_though_requests_fail_by_chance_beside_it():
    draw, beyond = np.random.default_rng(12), 0
    for _ in range(1000):
        begins, lasts = float(draw.uniform(300, 330)), float(draw.uniform(600, 1800))
        looks: list[Seen] = []
        for number in range(300):
            at, again = 10.0 * number, number % 3 > 0
            if again and looks[-1].outcome is Outcome.PASSED:
                continue
            failed = begins <= at < begins + lasts or draw.random() < 0.01
            looks.append(Seen(START + timedelta(seconds=at), Outcome.FAILED if failed else Outcome.PASSED, again))
        (found,) = spans(looks)
        assert found.off is not None
        assert found.off <= 20
        assert abs(found.seconds - lasts) <= 30
        beyond += abs(found.seconds - lasts) > found.off
    assert beyond <= 10
