"""What production's migration is held against: the rehearsal's figures, its schema, and who is in the way."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from tasks.domain.blockers import Session, in_the_way, shown_query
from tasks.domain.dropping import Column, Drop, drops, told
from tasks.domain.foretold import side_by_side
from tasks.domain.growth import Extent, growth
from tasks.domain.schema_text import difference, fit_to_keep, without_names_of_not_null
from tasks.domain.way_back import rows_changed

ITEM = "public.item"


def run(took, **locks):
    return {
        "took": took,
        "tries": 1,
        "locks": [{"relation": ITEM, "mode": mode, "held": held} for mode, held in locks.items()],
    }


def test_production_stands_beside_the_longest_rehearsal():
    found = side_by_side(
        run(1.0, AccessExclusiveLock=0.3),
        [run(0.5, AccessExclusiveLock=0.2), run(0.9, AccessExclusiveLock=0.25, ShareLock=0.1)],
        duration=30,
        lock=5,
    )
    assert (found["seconds"], found["foretold_seconds"]) == (1.0, 0.9)
    assert found["over_limit"] == found["beyond_prediction"] == []
    assert found["locks_side_by_side"] == [
        {
            "relation": ITEM,
            "mode": "AccessExclusiveLock",
            "blocks": "reads and writes",
            "seen": 0.3,
            "foretold": 0.25,
        },
        {"relation": ITEM, "mode": "ShareLock", "blocks": "writes", "seen": None, "foretold": 0.1},
    ]


def test_a_limit_exceeded_and_a_prediction_missed_are_told_apart():
    found = side_by_side(
        run(12.0, AccessExclusiveLock=6.0, ShareUpdateExclusiveLock=11.0),
        [run(4.0, AccessExclusiveLock=4.0)],
        duration=10,
        lock=5,
    )
    assert found["over_limit"] == [
        f"{ITEM} was locked in AccessExclusiveLock for 6.0 s > 5.0 s",
        "the migration took 12.0 s > 10.0 s",
    ]
    assert found["beyond_prediction"] == [
        "the migration took 12.0 s, 3.0 times the 4.0 s foretold",
        f"ShareUpdateExclusiveLock on {ITEM} was held 11.0 s, which was not foretold",
    ]


def test_times_so_short_that_they_differ_for_no_reason_are_not_noted():
    short = side_by_side(run(0.09, ShareLock=0.05), [run(0.001, ShareLock=0.0)], duration=1, lock=1)
    assert short["beyond_prediction"] == []
    from_nothing = side_by_side(run(0.2, ShareLock=0.2), [run(0.0, ShareLock=0.0)], duration=1, lock=1)
    assert len(from_nothing["beyond_prediction"]) == 2


def session(seconds, mode, relation=ITEM):
    return Session(
        4711, "report", "ann", "10.0.0.7", datetime(2026, 11, 22, 2, tzinfo=UTC), seconds, "", relation, mode
    )


@pytest.mark.parametrize(
    ("needed", "held", "seconds", "blocks"),
    [
        ("AccessExclusiveLock", "AccessShareLock", 9.0, True),
        ("AccessExclusiveLock", "AccessShareLock", 4.0, False),
        ("ShareUpdateExclusiveLock", "RowExclusiveLock", 9.0, False),
        ("ShareLock", "RowExclusiveLock", 9.0, True),
    ],
)
def test_who_is_in_the_way_holds_for_long_what_conflicts_with_what_is_needed(needed, held, seconds, blocks):
    found = in_the_way([session(seconds, held)], [{"relation": ITEM, "mode": needed}], longer_than=5.0)
    assert bool(found) is blocks
    assert not in_the_way([session(9.0, held, "public.note")], [{"relation": ITEM, "mode": needed}], longer_than=5.0)


def test_a_holder_is_told_with_all_that_a_person_needs_to_find_it():
    assert str(session(9.0, "AccessShareLock")) == (
        "pid 4711 (report, user ann, from 10.0.0.7) holds AccessShareLock on public.item, "
        "since 2026-11-22 02:00:00 UTC (9.0 s): "
    )


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        ("SELECT *\n  FROM t WHERE a = 'se''cret' AND b = 17.5e3", "SELECT * FROM t WHERE a = ? AND b = ?"),
        (r"SELECT E'it\'s secret', t1.c2", "SELECT ?, t1.c2"),
        ("DO $x$ secret 'q' $x$; SELECT $1", "DO ?; SELECT $1"),
        ("SELECT $$secret", "SELECT ?"),
        ("UPDATE t SET a = 'secret that is cut o", "UPDATE t SET a = ?"),
        ("SELECT " + "a, " * 100, ("SELECT " + "a, " * 100)[:79] + "…"),
    ],
)
def test_no_value_of_a_query_is_shown(query, shown):
    assert shown_query(query) == shown
    assert len(shown) <= 80


def column(oid, number, table=ITEM, name="c", parent=None, default=None):
    return Column(oid, number, table, name, "text", parent, default)


def test_what_came_with_the_upgrade_and_goes_with_the_downgrade_is_dropped_and_a_rename_is_not():
    before = [column(1, 1, name="name")]
    up = [
        column(1, 1, name="title"),
        column(1, 2, name="colour"),
        column(2, 1, "public.tag"),
        column(2, 2, "public.tag"),
    ]
    assert drops(before, up, before) == [Drop(ITEM, "colour", "text"), Drop("public.tag")]
    assert drops(before, up, [*before, column(2, 1, "public.tag"), column(2, 2, "public.tag")]) == [
        Drop(ITEM, "colour", "text")
    ]
    assert drops(before, up, up) == []
    assert drops(before, up, before, books=['"public"."tag"']) == [Drop(ITEM, "colour", "text")]


def test_a_partition_counts_with_its_table():
    before = [column(1, 1)]
    new = [column(5, 1, "public.log"), column(6, 1, "public.log_1", parent=5)]
    assert drops(before, before + new, before) == [Drop("public.log")]
    added = [column(1, 1), column(1, 2, name="x"), column(7, 1, "public.old_1", parent=1)]
    assert drops(
        [*before, column(7, 1, "public.old_1", parent=1)], [*added, column(7, 2, "public.old_1", "x", 1)], []
    ) == [Drop(ITEM, "x", "text")]


def test_drops_are_told_with_their_numbers():
    assert told({"column public.item.colour": 1, "table public.tag": 2, "table public.a": None}) == (
        "column public.item.colour (1 value), table public.tag (2 rows), table public.a (rows not counted)"
    )


def test_rows_changed_are_counted_from_the_backup_and_unknown_after_a_reset():
    assert rows_changed({"a": 5, "b": 1}, {"a": 7, "b": 1, "c": 4}) == 6
    assert rows_changed({"a": 5}, {"a": 4}) is None
    assert rows_changed({"a": 5}, {}) is None
    assert rows_changed({}, {"a": 4}) is None


def test_growth_names_the_tables_that_changed():
    found = growth(
        Extent(100, {"a": 1, "b": 2, "gone": 3}, 1000, full_pages=False),
        Extent(140, {"a": 1, "b": 9, "new": 4}, 1600, full_pages=False),
        shared=True,
    )
    assert found == {
        "database": {"before": 100, "after": 140},
        "tables": {
            "b": {"before": 2, "after": 9},
            "gone": {"before": 3, "after": 0},
            "new": {"before": 0, "after": 4},
        },
        "wal": 600,
        "full_page_writes": False,
        "server_shared": True,
    }


SCHEMA = """CREATE TABLE public.item (
    id integer
);
CREATE USER MAPPING FOR ann SERVER far OPTIONS (
    password 'hid''den',
    "user" 'hidden'
);
CREATE SUBSCRIPTION s CONNECTION 'host=x password=hidden' PUBLICATION p;
COMMENT ON TABLE public.item IS 'shown';
"""


def test_not_null_has_no_name_on_older_servers() -> None:
    named = 'a text CONSTRAINT "it""s NOT" NOT NULL,\n    b text CONSTRAINT t_b_not_null NOT NULL DEFAULT 1'
    assert without_names_of_not_null(named) == "a text NOT NULL,\n    b text NOT NULL DEFAULT 1"
    assert without_names_of_not_null(SCHEMA) == SCHEMA


def test_a_schema_is_kept_without_its_secrets_and_shown_as_a_difference():
    kept = fit_to_keep(SCHEMA)
    assert kept is not None
    assert "hid" not in kept
    assert "IS 'shown';" in kept
    shown = difference(kept, fit_to_keep(SCHEMA.replace("id integer", "id integer,\n    stray text")))
    assert "-    id integer\n+    id integer,\n+    stray text" in shown
    assert "hid" not in shown
    assert "must not be shown" in difference(kept, fit_to_keep(SCHEMA.replace("hidden", "other")))
    assert "too long" in difference(None, SCHEMA)
    assert "more lines" in difference("a\n" * 100, SCHEMA)
