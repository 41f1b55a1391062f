from __future__ import annotations

from tasks.domain.timetable import Timetable, next_tick

INTERVALS = {"a": 30.0, "b": 60.0}


def taken(table: Timetable, now: float) -> list[tuple[str, bool]]:
    return [(due.name, due.again) for due in table.take(now, INTERVALS.get)]


def next_of(table: Timetable) -> float:
    at = table.next_at()
    assert at is not None
    return at


def test_ticks_stay_where_they_are_and_one_that_is_late_is_no_burst() -> None:
    table = Timetable()
    table.begin("a", 0.0)
    table.begin("a", 0.0)
    assert taken(table, 0.0) == [("a", False)]
    table.answered("a")
    second = next_of(table)
    assert second == next_tick("a", 30.0, 0.0)
    assert taken(table, second + 100.0) == [("a", False)]
    table.answered("a")
    assert next_of(table) == next_tick("a", 30.0, second + 100.0)
    assert (next_of(table) - second) % 30.0 == 0


def test_a_tick_that_is_not_answered_is_looked_at_again_twice_and_no_other() -> None:
    table, at = Timetable(), next_tick("a", 30.0, 0.0)
    table.begin("a", at)
    for again in (False, True, True, False, True, True, False):
        assert next_of(table) == at
        assert taken(table, at) == [("a", again)]
        at += 10.0
    table.answered("a")
    assert next_of(table) == at + 20.0
    assert taken(table, at + 20.0) == [("a", False)]


def test_a_second_look_that_passes_ends_the_looking_until_a_tick_is_not_answered_again() -> None:
    table, at = Timetable(), next_tick("a", 30.0, 0.0)
    table.begin("a", at)
    assert taken(table, at) == [("a", False)]
    assert taken(table, at + 10.0) == [("a", True)]
    table.answered("a")
    assert next_of(table) == at + 30.0
    assert taken(table, at + 30.0) == [("a", False)]
    assert next_of(table) == at + 40.0


def test_no_second_look_is_due_beside_the_tick_that_follows() -> None:
    table, tick = Timetable(), next_tick("a", 30.0, 0.0)
    table.begin("a", tick - 12.0)
    assert taken(table, tick - 12.0) == [("a", False)]
    assert next_of(table) == tick


def test_what_is_guarded_no_more_is_probed_no_more_and_begins_anew() -> None:
    gone: dict[str, float] = {}
    table = Timetable()
    table.begin("a", 0.0)
    assert list(table.take(0.0, gone.get)) == []
    assert table.next_at() is None
    table.begin("a", 5.0)
    assert taken(table, 5.0) == [("a", False)]


def test_releases_are_not_probed_all_at_once() -> None:
    offsets = {round(next_tick(f"r{number}", 30.0, 0.0), 1) for number in range(100)}
    assert len(offsets) > 70
