"""The change window: when it is open and when it opens next."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

import pytest
from pydantic import ValidationError

from tasks.spec.window import Window
from tasks.windows import is_open, next_opening


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def window(days: str = "mon tue wed thu fri sat sun", between: str = "00:00-24:00", timezone: str = "UTC") -> Window:
    return Window.model_validate({"days": days.split(), "between": between, "timezone": timezone})


WEEKNIGHTS = window("tue wed thu", "02:00-05:00")
PAST_MIDNIGHT = window("fri", "22:00-02:00")
BERLIN = window(between="02:15-02:45", timezone="Europe/Berlin")


@pytest.mark.parametrize(
    ("of", "moment", "expected"),
    [
        (window(), "2026-11-22T00:00", True),
        (window(), "2026-11-22T23:59:59.999999", True),
        (WEEKNIGHTS, "2026-11-24T02:00", True),  # a Tuesday
        (WEEKNIGHTS, "2026-11-24T01:59:59.999999", False),
        (WEEKNIGHTS, "2026-11-24T04:59:59.999999", True),
        (WEEKNIGHTS, "2026-11-24T05:00", False),
        (WEEKNIGHTS, "2026-11-23T03:00", False),
        (PAST_MIDNIGHT, "2026-11-27T22:00", True),  # a Friday
        (PAST_MIDNIGHT, "2026-11-28T01:59", True),
        (PAST_MIDNIGHT, "2026-11-28T02:00", False),
        (PAST_MIDNIGHT, "2026-11-28T22:30", False),
        (PAST_MIDNIGHT, "2026-11-27T01:00", False),  # that night belongs to Thursday
        (window("sun", "22:00-02:00"), "2026-11-23T01:00", True),  # Monday, of Sunday's night
        (window("mon", "20:00-24:00"), "2026-11-23T23:59", True),
        (window("mon", "20:00-24:00"), "2026-11-24T00:00", False),
        (window("mon", "09:00-17:00", "America/New_York"), "2026-11-23T14:00", True),
        (window("mon", "09:00-17:00", "America/New_York"), "2026-11-23T13:59", False),
        (window("tue", "00:00-05:00", "Asia/Tokyo"), "2026-11-23T15:00", True),  # there it is Tuesday already
        (window(between="08:00-09:00", timezone="Europe/Berlin"), "2026-07-01T06:30", True),
        (window(between="08:00-09:00", timezone="Europe/Berlin"), "2026-12-01T06:30", False),
    ],
)
def test_a_window_is_open_from_its_beginning_until_just_before_its_end(of, moment, expected):
    assert is_open(of, at(moment)) is expected


@pytest.mark.parametrize(
    ("of", "after", "expected"),
    [
        (WEEKNIGHTS, "2026-11-22T13:00", "2026-11-24T02:00"),
        (WEEKNIGHTS, "2026-11-26T05:00", "2026-12-01T02:00"),
        (PAST_MIDNIGHT, "2026-11-28T02:00", "2026-12-04T22:00"),
        (window("mon", "09:00-17:00", "America/New_York"), "2026-11-22T00:00", "2026-11-23T14:00"),
        (window("sun", "03:30-04:00", "Europe/Berlin"), "2026-03-23T00:00", "2026-03-29T01:30"),
    ],
)
def test_the_next_opening_is_the_windows_beginning(of, after, expected):
    assert next_opening(of, at(after)) == at(expected)


def test_a_window_in_the_hour_that_does_not_exist_opens_on_the_next_day():
    # On 2026-03-29 clocks in Berlin go from 02:00 to 03:00.
    assert next_opening(BERLIN, at("2026-03-28T12:00")) == at("2026-03-30T00:15")


def test_a_window_cut_by_the_clock_put_forward_opens_when_that_hour_ends():
    assert next_opening(window(between="02:30-04:00", timezone="Europe/Berlin"), at("2026-03-28T12:00")) == at(
        "2026-03-29T01:00"
    )


def test_a_window_in_the_hour_that_comes_twice_opens_twice():
    # On 2026-10-25 clocks in Berlin go from 03:00 back to 02:00.
    first = next_opening(BERLIN, at("2026-10-24T12:00"))
    assert first == at("2026-10-25T00:15")
    assert next_opening(BERLIN, at("2026-10-25T00:45")) == at("2026-10-25T01:15")


def test_the_next_opening_is_the_first_open_minute_wherever_one_looks_from():
    random.seed(7)
    zones = ["UTC", "Europe/Berlin", "America/St_Johns", "Asia/Kathmandu", "Australia/Lord_Howe"]
    for _ in range(25):
        days = " ".join(random.sample(["mon", "tue", "wed", "thu", "fri", "sat", "sun"], random.randint(1, 3)))
        begin, end = random.sample(range(24), 2)
        of = window(days, f"{begin:02}:{random.choice((0, 30)):02}-{end:02}:15", random.choice(zones))
        moment = at("2026-01-01") + timedelta(minutes=random.randrange(525_600))
        opens = next_opening(of, moment)
        assert opens is not None
        assert opens > moment
        assert is_open(of, opens)
        if not is_open(of, moment):
            assert not is_open(of, opens - timedelta(minutes=1))
            assert (opens - moment) <= timedelta(days=8)


@pytest.mark.parametrize(
    "wrong",
    [
        {"between": "02:00"},
        {"between": "2:00-5:00"},
        {"between": "25:00-26:00"},
        {"between": "02:60-05:00"},
        {"between": "05:00-05:00"},
        {"timezone": "Mars/Base"},
        {"timezone": "../../etc/passwd"},
        {"timezone": ""},
        {"days": ["monday"]},
        {"days": []},
    ],
)
def test_a_window_that_makes_no_sense_or_never_opens_is_refused(wrong):
    with pytest.raises(ValidationError):
        Window.model_validate(wrong)
