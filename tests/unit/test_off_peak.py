"""The quietest hour: what it rests on, and when nothing is suggested."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest

from tasks.domain.off_peak import Counted, OffPeak, off_peak
from tasks.spec.window import Window
from tasks.windows import is_open, openings

MONDAY = datetime(2026, 11, 2, tzinfo=UTC)
NOW = datetime(2026, 11, 23, 14, 20, tzinfo=UTC)
"""A Monday."""
HOUR = timedelta(hours=1)


def by_day(local: datetime) -> float:
    """Much by day, little at night, least at 03:00."""
    return {3: 300.0}.get(local.hour, 6000.0 if 8 <= local.hour < 20 else 900.0)


def counted(
    days: float, rate: Callable[[datetime], float] = by_day, *, offset: timedelta = timedelta(), step: timedelta = HOUR
) -> list[Counted]:
    """Count for some days what comes at a rate by the hour."""
    found, at = [], MONDAY + offset
    while at < MONDAY + timedelta(days=days):
        minutes = int(step.total_seconds() // 60)
        count = sum(rate(at + timedelta(minutes=one)) / 60 for one in range(minutes))
        found.append(Counted(at, at + step, count))
        at += step
    return found


def asked(seen: Iterable[Counted], at: datetime = NOW, **window: object) -> OffPeak | str:
    opens = Window.model_validate(window)
    return off_peak(seen, ZoneInfo(opens.timezone), of="requests", at=at, openings=openings(opens, NOW))


def test_a_busy_hour_is_told_with_the_quietest_one_of_the_window_and_the_figures_of_both():
    found = asked(counted(4))
    assert isinstance(found, OffPeak)
    assert found.is_busy
    assert (found.then.rate, found.then.days, found.usual.rate, found.usual.days) == (6000, 4, 300, 4)
    assert found.begins == datetime(2026, 11, 24, 3, tzinfo=UTC)
    assert str(found) == (
        "about 6,000 requests an hour come at Mon 2026-11-23 14:20 UTC; the quietest hour in the change window is from "
        "Tue 2026-11-24 03:00 UTC, with about 300 (medians of 4 days or more, whatever day of the week)"
    )
    assert found.as_json()["quietest"] == {"begins": "2026-11-24T03:00:00+00:00", "an_hour": 300, "days": 4}


def test_only_hours_in_which_the_window_is_open_are_suggested():
    found = asked(counted(4), days=["wed"], between="06:30-10:00")
    assert isinstance(found, OffPeak)
    assert (found.begins, found.usual.rate) == (datetime(2026, 11, 25, 6, 30, tzinfo=UTC), 900)


def test_a_quiet_hour_and_one_that_is_hardly_busier_are_left_as_they_are():
    at_night = asked(counted(4), NOW.replace(hour=2))
    assert isinstance(at_night, OffPeak)
    assert at_night.is_busy, "900 are three times as many as 300"
    even = asked(counted(4, lambda at: 6000.0 + at.hour))
    little = asked(counted(4, lambda at: 2.0 if at.hour == 3 else 60.0))
    for found in (even, little, asked(counted(4), NOW.replace(hour=3))):
        assert isinstance(found, OffPeak)
        assert not found.is_busy
        assert str(found).endswith("no busy hour (medians of 4 days or more, whatever day of the week)")


def test_a_weekend_is_told_from_a_weekday_once_each_hour_of_the_week_is_known():
    def quiet_on_sundays(at: datetime) -> float:
        return 50.0 if at.weekday() == 6 else by_day(at)

    found = asked(counted(21, quiet_on_sundays))
    assert isinstance(found, OffPeak)
    assert (found.weekly, found.begins.weekday(), round(found.usual.rate)) == (True, 6, 50)
    assert "medians of 3 weeks or more" in str(found)
    assert isinstance(found := asked(counted(20, quiet_on_sundays), days=["mon"]), OffPeak)
    assert (found.weekly, found.begins.hour) == (True, 3)


@pytest.mark.parametrize(
    ("seen", "why"),
    [
        ([], "nothing was counted"),
        (counted(2), "of the 24 hours of the day in which it could begin 0 were counted on 3 days"),
        ([one for one in counted(9) if one.since.hour not in range(8)], "of the 24 hours .* 16 were counted"),
        ([one for one in counted(9) if one.since.hour != 14], "and not the one in which it would"),
        ([Counted(one.since, one.until, float("nan")) for one in counted(9)], "nothing was counted"),
        ([Counted(one.until, one.since, 5.0) for one in counted(9)], "nothing was counted"),
    ],
)
def test_where_too_little_is_known_nothing_is_suggested_and_it_says_why(seen, why):
    found = asked(seen)
    assert isinstance(found, str)
    assert re.search(why, found)


def test_one_day_that_was_not_like_the_others_does_not_count():
    def once_a_rush(at: datetime) -> float:
        return 90_000.0 if (at.day, at.hour) == (3, 3) else by_day(at)

    found = asked(counted(4, once_a_rush))
    assert isinstance(found, OffPeak)
    assert (found.begins.hour, found.usual.rate) == (3, 300)


def test_counts_between_the_hours_of_the_clock_are_shared_out_among_them():
    found = asked(counted(5, offset=timedelta(minutes=25), step=timedelta(minutes=20)))
    assert isinstance(found, OffPeak)
    assert found.begins.hour == 3
    assert found.usual.rate == pytest.approx(300, rel=0.5)
    assert found.then.rate == pytest.approx(6000)


def test_hours_are_those_of_the_windows_own_clock():
    berlin = ZoneInfo("Europe/Berlin")
    found = asked(counted(5, lambda at: by_day(at.astimezone(berlin))), timezone="Europe/Berlin")
    assert isinstance(found, OffPeak)
    assert found.begins == datetime(2026, 11, 24, 2, tzinfo=UTC)
    halves = ZoneInfo("Asia/Kolkata")
    found = asked(counted(5, lambda at: by_day(at.astimezone(halves))), timezone="Asia/Kolkata")
    assert isinstance(found, OffPeak)
    assert found.begins == datetime(2026, 11, 23, 21, 30, tzinfo=UTC)


def test_a_window_that_never_opens_soon_suggests_nothing():
    assert off_peak(counted(9), ZoneInfo("UTC"), of="requests", at=NOW, openings=[]) == (
        "the change window does not open within a week"
    )


@pytest.mark.parametrize(
    ("window", "count"),
    [
        ({}, 7 * 24 + 1),  # the present hour and, a week later, the same one
        ({"between": "22:15-01:30", "days": ["fri"]}, 4),
        ({"between": "02:00-05:00", "timezone": "Asia/Kolkata"}, 7 * 3),
    ],
)
def test_openings_are_open_moments_one_for_each_hour_of_the_clock_within_a_week(window, count):
    opens = Window.model_validate(window)
    found = openings(opens, NOW)
    zone = ZoneInfo(opens.timezone)
    assert all(is_open(opens, one) for one in found)
    hours = [one.astimezone(zone).replace(minute=0) for one in found]
    assert all(before < after for before, after in pairwise(hours))
    assert NOW < found[0] <= found[-1] <= NOW + timedelta(days=7, minutes=1)
    assert len(found) == count
