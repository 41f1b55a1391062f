from __future__ import annotations

from tasks.domain.timetable import Timetable, next_tick

INTERVALS = {"a": 30.0, "b": 60.0}


def taken(table: Timetable, now: float) -> list[tuple[str, bool]]:
    return [(due.name, due.again) for due in table.take(now, INTERVALS.get)]


def test_ticks_stay_where_they_are_and_one_that_is_late_is_no_burst() -> None:
    table = Timetable()
    table.begin("a", 0.0)
    table.begin("a", 0.0)
    assert taken(table, 0.0) == [("a", False)]
    table.answered("a")
    second = table.next_at()
    assert second == next_tick("a", 30.0, 0.0)
    assert taken(table, second + 100.0) == [("a", False)]
    table.answered("a")
    assert table.next_at() == next_tick("a", 30.0, second + 100.0)
    assert (table.next_at() - second) % 30.0 == 0


def test_a_tick_that_was_not_answered_is_looked_at_again_half_an_interval_later_and_no_other() -> None:
    table = Timetable()
    table.begin("a", next_tick("a", 30.0, 0.0))
    at = table.next_at()
    assert taken(table, at) == [("a", False)]
    assert table.next_at() == at + 15.0
    assert taken(table, at + 15.0) == [("a", True)]
    assert table.next_at() == at + 30.0
    assert taken(table, at + 30.0) == [("a", False)]
    table.answered("a")
    assert taken(table, at + 45.0) == []


def test_what_is_guarded_no_more_is_probed_no_more_and_begins_anew() -> None:
    table, gone = Timetable(), {}
    table.begin("a", 0.0)
    assert list(table.take(0.0, gone.get)) == []
    assert table.next_at() is None
    table.begin("a", 5.0)
    assert taken(table, 5.0) == [("a", False)]


def test_releases_are_not_probed_all_at_once() -> None:
    offsets = {round(next_tick(f"r{number}", 30.0, 0.0), 1) for number in range(100)}
    assert len(offsets) > 70
