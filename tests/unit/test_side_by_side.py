"""How a new version is judged by probes of it and of the old one."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest

from tasks.domain.outcome import Outcome
from tasks.domain.side_by_side import Limits, Probes, fails_more, judge
from tasks.domain.upstream import Member, Upstream

LIMITS = Limits(errors=0.05, slower=0.5, floor=0.05, least=20)


def probes(count: int, median: float = 0.1, failed: int = 0, seed: int = 1) -> Probes:
    draw = random.Random(seed)
    return Probes(failed, [median * draw.lognormvariate(0, 0.3) for _ in range(count - failed)])


@pytest.mark.parametrize(
    ("old", "new", "outcome"),
    [
        (probes(100), probes(100, seed=2), Outcome.PASSED),
        (probes(100), probes(100, 0.12, seed=2), Outcome.PASSED),
        (probes(100), probes(100, 0.3, seed=2), Outcome.FAILED),
        (probes(100, 0.001), probes(100, 0.004, seed=2), Outcome.PASSED),  # within the floor
        (probes(100), probes(100, failed=20), Outcome.FAILED),
        (probes(100, failed=20), probes(100, failed=22), Outcome.PASSED),  # the old one fails as often
        (probes(100), probes(100, failed=8), Outcome.PASSED),  # which 5 % might well give
        (Probes(0, []), Probes(0, []), Outcome.UNKNOWN),
        (probes(100), probes(19), Outcome.UNKNOWN),
        (probes(19), probes(100), Outcome.UNKNOWN),
        (probes(100, failed=100), probes(100, failed=100), Outcome.UNKNOWN),
        (probes(100, failed=100), probes(100), Outcome.UNKNOWN),  # nothing to compare its latency with
    ],
)
def test_a_version_passes_only_where_enough_is_known_and_nothing_is_worse(old, new, outcome):
    judged = judge(old, new, LIMITS)
    assert judged.outcome is outcome, judged
    assert judged.why
    assert judged.figures["new"]["asked"] == new.asked


def test_a_version_without_a_fault_is_seldom_sent_back_however_often_one_looks():
    draw, sent_back = random.Random(7), 0
    for _ in range(300):
        failed = 0
        for asked in range(1, 601):
            failed += draw.random() < 0.01
            if fails_more(Probes(6, [0.1] * 594), Probes(failed, [0.1] * (asked - failed)), LIMITS):
                sent_back += 1
                break
    assert sent_back <= 6


@pytest.mark.parametrize(
    ("weights", "expected"),
    [((1,), [100]), ((1, 1, 1), [34, 33, 33]), ((95, 5), [95, 5]), ((99, 99, 99, 1, 1, 1), [33, 32, 32, 1, 1, 1])],
)
def test_tickets_are_dealt_by_weight_and_evenly_and_nobody_goes_without(weights, expected):
    members = tuple(Member(f"m{number}", "127.0.0.1:80", weight) for number, weight in enumerate(weights))
    dealt = Upstream(members).dealt(100)
    assert len(dealt) == 100
    assert sorted((dealt.count(member) for member in members), reverse=True) == expected
    places = [number for number, member in enumerate(dealt) if member is members[-1]]
    gaps = [later - earlier for earlier, later in pairwise(places)]
    assert not gaps or max(gaps) <= 2 * min(gaps)
