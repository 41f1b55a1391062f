"""A small part of ``make simulate``, so that a judge that rolls back for nothing, or sees nothing, is found at once."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.simulation.running import SCENARIOS, Tally, tally

SEED = 11


@pytest.mark.parametrize(
    ("name", "releases"),
    [("healthy", 40), ("down 5 min", 10), ("down 11 min", 15), ("down 15 min, prober too", 10), ("no data", 15)],
)
def test_the_aim_is_met_by_every_release_of(name, releases):
    assert SCENARIOS[name].met(tally(SEED, name, 0, releases))


@pytest.mark.parametrize("name", ["slower 2 ×", "errors 30 %"])
def test_nearly_all_are_found_within_two_looks_of(name):
    assert tally(SEED, name, 0, 30).soon >= 29


def test_the_plain_rules_take_healthy_releases_back():
    assert tally(SEED, "healthy", 0, 20).plain > 5


def test_a_tally_is_the_same_however_the_work_is_shared_out():
    assert tally(SEED, "errors 25 %", 0, 3) + tally(SEED, "errors 25 %", 3, 3) == tally(SEED, "errors 25 %", 0, 6)


@pytest.mark.parametrize(
    ("name", "seen"),
    [
        ("healthy", Tally(releases=1, by=Counter(down=1))),
        ("down 11 min", Tally(releases=1, stable=1)),
        ("down 11 min", Tally(releases=1, off=31.0)),
        ("slower 2 ×", Tally(releases=100, soon=98)),
        ("no data", Tally(releases=1, stable=1)),
        ("errors 15 %", Tally(releases=100, by=Counter(errors=26))),
    ],
)
def test_an_aim_that_is_missed_is_told(name, seen):
    assert not SCENARIOS[name].met(seen)
