from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tasks.domain.traffic import NONE, Counted, Traffic, grown, is_calm, parts, since_calm

NOW = datetime(2026, 1, 6, 3, 0, tzinfo=UTC)


def _counted(ago: float, asked: int, seconds: float = 60.0) -> Counted:
    return Counted(NOW - timedelta(seconds=ago), seconds, Traffic(asked, 0))


@pytest.mark.parametrize(
    ("before", "now", "more"),
    [
        ({"a": Traffic(100, 3)}, {"a": Traffic(160, 5)}, Traffic(60, 2)),
        ({"a": Traffic(100, 3)}, {"a": Traffic(20, 1)}, Traffic(20, 1)),  # it was started again
        ({"a": Traffic(100, 0)}, {"a": Traffic(150, 120)}, Traffic(150, 120)),  # so was this, as its failures tell
        ({"a": Traffic(100, 3)}, {"a": Traffic(100, 3), "b": Traffic(7, 7)}, Traffic(7, 7)),
        ({"a": Traffic(100, 3)}, {"b": Traffic(7, 0)}, Traffic(7, 0)),
        ({}, {}, NONE),
    ],
)
def test_counters_tell_what_was_added_also_if_they_began_anew(before, now, more):
    assert grown(before, now) == more


def test_a_count_belongs_to_the_part_in_which_its_middle_lies():
    counts = [_counted(10 + 60 * back, 10**back) for back in range(5)]
    assert [one.asked for one in parts(counts, NOW, 300.0, 5)] == [10_000, 1000, 100, 10, 1]


def test_where_too_little_of_the_time_was_counted_nothing_is_told():
    assert parts([_counted(60 * back, 10) for back in range(4)], NOW, 300.0, 5) != []
    assert parts([_counted(60 * back, 10) for back in range(3)], NOW, 300.0, 5) == []
    assert parts([], NOW, 300.0, 5) == []


def test_a_count_over_more_than_a_part_and_a_half_does_not_tell_when_its_requests_came():
    assert parts([_counted(0, 10, seconds=300.0)], NOW, 300.0, 5) == []


def test_errors_since_the_last_calm_part_leave_out_what_came_before_it():
    few, many, none = Traffic(100, 1), Traffic(100, 40), Traffic(0, 0)
    assert since_calm([many, few, many, none, many], 0.2) == Traffic(200, 80)
    assert since_calm([many, many], 0.2) == Traffic(200, 80)
    assert not is_calm(none, 0.2)
    assert not is_calm(Traffic(3, 0), 0.2)
