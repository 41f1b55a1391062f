"""Quantities as people write them."""

from __future__ import annotations

import pytest

from tasks.domain import units


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("200ms", 0.2),
        ("30s", 30),
        ("5 min", 300),
        ("10m", 600),
        ("1.5h", 5400),
        ("24h", 86400),
        (" 7 d ", 604800),
        ("1W", 604800),
    ],
)
def test_a_duration_is_read_in_seconds(text, expected):
    assert units.seconds(text) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("0B", 0), ("500MB", 500_000_000), ("2 GiB", 2 * 1024**3), ("1.5 kb", 1500), ("1TiB", 1024**4)],
)
def test_a_size_is_read_in_bytes(text, expected):
    assert units.size_in_bytes(text) == expected


@pytest.mark.parametrize(("text", "expected"), [("20%", 0.2), ("0.5 %", 0.005), ("150%", 1.5)])
def test_a_percentage_is_read_as_a_fraction(text, expected):
    assert units.share(text) == pytest.approx(expected)


@pytest.mark.parametrize("read", [units.seconds, units.size_in_bytes, units.share])
@pytest.mark.parametrize("text", ["", "5", "s", "-5s", "5 parsecs", "1,5s", "1e3s", "5s 3s", "nan s", "٣s x", "inf%"])
def test_what_has_no_known_unit_is_refused_with_an_example(read, text):
    with pytest.raises(ValueError, match=r"is not a .*as in"):
        read(text)


def test_a_unit_of_another_quantity_is_refused():
    with pytest.raises(ValueError, match="duration"):
        units.seconds("5MB")
    with pytest.raises(ValueError, match="size"):
        units.size_in_bytes("5min")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0, "0 ms"),
        (0.2, "200 ms"),
        (3.24, "3.2 s"),
        (60, "1 min"),
        (310, "5 min 10 s"),
        (3600, "1 h"),
        (7500, "2 h 5 min"),
        (86400 * 2, "2 d"),
        (86400 * 2 + 3600 * 5, "2 d 5 h"),
    ],
)
def test_a_duration_is_shown_as_a_person_reads_it(value, expected):
    assert units.show_seconds(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0, "0 B"), (999, "999 B"), (4_200_000, "4.2 MB"), (-1500, "-1.5 kB"), (2.46e9, "2.5 GB"), (5e15, "5000.0 TB")],
)
def test_a_size_is_shown_in_powers_of_a_thousand(value, expected):
    assert units.show_bytes(value) == expected


@pytest.mark.parametrize("value", [0.001, 0.9994, 1.0, 9.97, 59.94, 61, 3599, 86399])
def test_no_duration_is_shown_with_more_than_its_unit_holds(value):
    text = units.show_seconds(value)
    assert not {"1000 ms", "60.0 s", "60 min", "60 s"} & {text}
