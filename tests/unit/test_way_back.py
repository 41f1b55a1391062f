"""Which way back a rehearsal has proven."""

from __future__ import annotations

import itertools

import pytest

from tasks.domain.outcome import Outcome
from tasks.domain.way_back import Plan, WayBack, choose, differences

BOTH = list(itertools.product(Outcome, Outcome))


def chosen(old_on_new: Outcome, down_exact: Outcome, pending: tuple[str, ...] = ("0002",)) -> Plan:
    return choose(pending=pending, old_on_new=old_on_new, down_exact=down_exact, down_seconds=1.5, restore_seconds=60.0)


@pytest.mark.parametrize(("old_on_new", "down_exact"), BOTH)
def test_the_cheapest_proven_way_is_chosen_and_unknown_proves_nothing(old_on_new, down_exact):
    plan = chosen(old_on_new, down_exact)
    if old_on_new is Outcome.PASSED:
        assert (plan.way, plan.seconds) == (WayBack.KEEP, 0.0)
    elif down_exact is Outcome.PASSED:
        assert (plan.way, plan.seconds) == (WayBack.DOWNGRADE, 1.5)
    else:
        assert (plan.way, plan.seconds) == (WayBack.RESTORE, 60.0)
    assert plan.loses_writes is (plan.way is WayBack.RESTORE)


@pytest.mark.parametrize(("old_on_new", "down_exact"), BOTH)
def test_a_release_without_a_migration_keeps_the_schema(old_on_new, down_exact):
    assert chosen(old_on_new, down_exact, pending=()).way is WayBack.KEEP


def test_the_reason_names_what_was_not_proven():
    assert chosen(Outcome.UNKNOWN, Outcome.FAILED).why == (
        "the old version's checks on the new schema: unknown; down and compare: failed"
    )


def test_differences_are_changed_values_and_names_that_one_side_lacks():
    before = {"a": {"rows": 1}, "b": {"rows": 2}, "c": {"rows": 3}}
    after = {"a": {"rows": 1}, "b": {"rows": 9}, "d": {"rows": 4}}
    assert differences(before, after) == ["b", "c", "d"]
    assert differences(before, dict(reversed(before.items()))) == []
    assert differences({}, {}) == []


def test_a_name_that_holds_nothing_differs_from_a_name_that_is_not_there():
    assert differences({"a": None}, {}) == ["a"]
    assert differences({}, {"a": None}) == ["a"]
    assert differences({"a": None}, {"a": None}) == []
