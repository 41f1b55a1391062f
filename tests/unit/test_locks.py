"""What a lock blocks, held against PostgreSQL's published table of conflicts."""

from __future__ import annotations

import itertools

import pytest

from tasks.domain.locks import Blocks, blocks, conflicts, holds_up, mode_of

MODES = [
    "ACCESS SHARE",
    "ROW SHARE",
    "ROW EXCLUSIVE",
    "SHARE UPDATE EXCLUSIVE",
    "SHARE",
    "SHARE ROW EXCLUSIVE",
    "EXCLUSIVE",
    "ACCESS EXCLUSIVE",
]
# Table 13.2 of PostgreSQL's manual: a row for each mode that is wanted, an X where one that is held conflicts.
PUBLISHED = [".......X", "......XX", "....XXXX", "...XXXXX", "..XX.XXX", "..XXXXXX", ".XXXXXXX", "XXXXXXXX"]


@pytest.mark.parametrize(("wanted", "held"), list(itertools.product(range(8), range(8))))
def test_two_modes_conflict_as_postgresql_publishes_it(wanted, held):
    assert conflicts(MODES[held], MODES[wanted]) is (PUBLISHED[wanted][held] == "X")


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("AccessExclusiveLock", Blocks.READS),
        ("ExclusiveLock", Blocks.WRITES),
        ("ShareRowExclusiveLock", Blocks.WRITES),
        ("ShareLock", Blocks.WRITES),
        ("ShareUpdateExclusiveLock", Blocks.DDL),
        ("RowExclusiveLock", Blocks.ROWS),
        ("RowShareLock", Blocks.DDL),
        ("AccessShareLock", Blocks.DDL),
        ("SomethingNewLock", Blocks.UNKNOWN),
    ],
)
def test_what_a_lock_blocks_follows_from_the_conflicts(mode, expected):
    assert blocks(mode) is expected
    assert holds_up(mode) is (expected is not Blocks.DDL)


def test_a_mode_that_nobody_knows_conflicts_with_all():
    assert mode_of("SIReadLock") is None
    assert conflicts("SomethingNewLock", "AccessShareLock")
