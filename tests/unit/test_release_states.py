"""The states of a release and the names it may carry."""

from __future__ import annotations

import re
from collections.abc import Collection
from datetime import UTC, datetime

import pytest

from tasks.domain.errors import InvalidVersion
from tasks.domain.release import (
    MOVES,
    MUTATING,
    SYSTEM_PATTERN,
    TERMINAL,
    Phase,
    State,
    check_version,
    may_move,
    new_release_id,
)


def reachable(start: State, without: Collection[State] = ()) -> set[State]:
    seen, front = {start}, [start]
    while front:
        for after in MOVES[front.pop()] - seen - set(without):
            seen.add(after)
            front.append(after)
    return seen


def test_every_state_says_where_it_may_go_and_is_reached_from_planned():
    assert set(MOVES) == set(State)
    assert reachable(State.PLANNED) == set(State)


@pytest.mark.parametrize("state", State)
def test_an_end_can_be_reached_from_every_state_and_no_state_moves_to_itself(state):
    assert reachable(state) & TERMINAL
    assert not may_move(state, state)


@pytest.mark.parametrize("state", sorted(TERMINAL))
def test_an_ended_release_goes_nowhere_but_a_stable_one_back(state):
    assert MOVES[state] == ({State.ROLLING_BACK} if state is State.STABLE else frozenset())


@pytest.mark.parametrize("state", sorted(MUTATING))
def test_from_every_mutating_state_one_may_roll_back_or_ask_a_person(state):
    assert may_move(state, State.ROLLING_BACK)
    assert may_move(state, State.NEEDS_PERSON)


@pytest.mark.parametrize("state", [State.HEALTH, State.WATCHING, State.ROLLING_BACK, State.STABLE])
def test_once_the_new_version_serves_a_release_cannot_just_stop(state):
    assert not may_move(state, State.STOPPED)


@pytest.mark.parametrize("state", [State.PLANNED, State.PREFLIGHT, State.BACKUP, State.REHEARSE, State.AWAITING_GO])
def test_before_production_is_touched_a_release_stops_and_has_nothing_to_roll_back(state):
    assert may_move(state, State.STOPPED)
    assert not may_move(state, State.ROLLING_BACK)
    assert state not in MUTATING


def test_no_phase_can_be_left_out_on_the_way_to_production():
    for left_out in (State.PREFLIGHT, State.BACKUP, State.REHEARSE, State.AWAITING_GO):
        # A phase that is started alone (running) is not on that way.
        seen = reachable(State.PLANNED, without={left_out, State.RUNNING})
        assert not seen & (MUTATING | {State.STABLE, State.ROLLING_BACK}), left_out


def test_a_rollback_ends_or_asks_a_person_who_may_try_it_again():
    assert MOVES[State.ROLLING_BACK] == {State.ROLLED_BACK, State.NEEDS_PERSON}
    assert may_move(State.NEEDS_PERSON, State.ROLLING_BACK)


def test_every_phase_has_a_state():
    named = {"watch": "watching", "rollback": "rolling_back"}
    assert {named.get(phase, phase) for phase in Phase} <= {state.value for state in State}


@pytest.mark.parametrize("version", ["v2", "1.0.3", "2026-11-22_a+b", "3f9c0de", "A" * 100, "0"])
def test_a_version_is_returned_as_it_is(version):
    assert check_version(version) == version


@pytest.mark.parametrize(
    "version",
    ["v2; touch x", "../x", "a/../b", "a..b", "..", ".", ".hidden", "-rf", "--help", "", " ", "v2 ", "v 2", "v2\n",
     "\nv2", "v2\x00", "A" * 101, "vérsion", "ⅴ2", "v２", "v2\u200b", "$(id)", "`id`", "a|b", "a&b", "a'b", 'a"b',
     "a\\b", "a/b", "C:x", "*", "~root", "${env:X}", "{version}", "%2e%2e"],
)  # fmt: skip
def test_what_is_not_a_plain_name_is_refused_as_a_version(version):
    with pytest.raises(InvalidVersion) as caught:
        check_version(version)
    assert caught.value.exit_code == 2
    assert repr(version) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("system", ["Ordinaut", "1a", "a_b", "a b", "-a", "", "a" * 41, "a\n", "ä", "../a"])
def test_what_is_not_a_plain_name_is_no_system(system):
    assert not re.fullmatch(SYSTEM_PATTERN[1:-1], system)


def test_a_release_id_sorts_by_time_and_is_a_safe_name():
    ids = [new_release_id("ordinaut", datetime(2026, 11, day, 2, 5, tzinfo=UTC)) for day in (9, 22, 30)]
    assert ids == sorted(ids)
    assert all(re.fullmatch(r"ordinaut-202611\d\d-0205-[a-z0-9]{4}", one) for one in ids)
    at = datetime(2026, 11, 22, tzinfo=UTC)
    assert len({new_release_id("ordinaut", at) for _ in range(50)}) > 45
