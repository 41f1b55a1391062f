"""What failed and killed backups leave on the disk: it does not pile up, and no good backup is taken for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.domain.errors import BackupNotProven, GoliveError
from tests.flows import SmallSystem


def backups(system: SmallSystem) -> list[str]:
    """Return what lies in the system's directory of backups."""
    return sorted(path.name for path in (system.home / "golive/systems/shop/backups").iterdir())


def fail_to_prove(system: SmallSystem) -> tuple[str, str]:
    """Make a backup whose dump is harmed before its restore, and return its directory's name and what was said."""
    from tasks.backup import restore_copy, scratch_cleared, take_backup
    from tasks.driving import operation

    dumped = []

    def backup() -> None:
        with operation("backup", "shop", "v1") as claim, scratch_cleared(claim):
            dumped.append(Path(take_backup.fn(claim)))
            (dumped[0] / "dump/toc.dat").write_bytes(b"")
            restore_copy.fn(claim, str(dumped[0]))

    with pytest.raises(BackupNotProven) as caught:
        backup()
    return dumped[0].name, str(caught.value)


def test_of_dumps_that_were_not_proven_one_is_kept_until_there_is_a_proven_one(small_system):
    first, said = fail_to_prove(small_system)
    assert "the dump is kept in" in said
    assert backups(small_system) == [first]
    _second, said = fail_to_prove(small_system)
    assert "the dump was removed" in said
    assert backups(small_system) == [first]
    proven = Path(small_system.phase("backup", "v1")).name
    assert backups(small_system) == [proven]
    _third, said = fail_to_prove(small_system)
    assert "the dump was removed" in said
    assert backups(small_system) == [proven]


def test_what_killed_backups_left_is_swept_and_nothing_else(small_system):
    from tasks.driving import open_release

    small_system.phase("backup", "v1")
    ended = small_system.latest().id
    (proven,) = backups(small_system)
    under_way = open_release("shop", "v1", scope="rehearse", mutates=False, started_by="ann", reason="").release_id
    directory = small_system.home / "golive/systems/shop/backups"
    left = [f".partial-20260101T000000000-{ended}", f"20260101T000000000-{ended}"]
    other = [f"20260101T000000000-{under_way}", "20260101T000000000-shop-of-another-ledger", "notes", ".partial-notes"]
    for name in (*left, *other):
        (directory / name / "dump").mkdir(parents=True)
    from tasks.context import context_of
    from tasks.driving import join
    from tasks.retire import _sweep

    assert sorted(_sweep(context_of(join(under_way)))) == sorted(left)
    assert backups(small_system) == sorted([proven, *other])


def test_a_dump_stays_as_long_as_another_try_may_prove_it(small_system):
    from tasks.backup import _unproven_discarded
    from tasks.context import context_of
    from tasks.domain.errors import ConnectionLost
    from tasks.driving import open_release

    small_system.phase("backup", "v1")
    claim = open_release("shop", "v1", scope="backup", mutates=False, started_by="ann", reason="")
    location = small_system.home / "golive/systems/shop/backups" / f"20260101T000000000-{claim.release_id}"
    location.mkdir()
    for error, stays in ((ConnectionLost("gone"), True), (GoliveError("no"), False)):
        with pytest.raises(GoliveError), _unproven_discarded(context_of(claim), location):
            raise error
        assert location.exists() is stays


def test_the_backup_of_a_release_that_goes_on_outlasts_number_and_age(small_system):
    from tasks.context import context_of
    from tasks.domain.release import State
    from tasks.driving import advance, open_release
    from tasks.retire import _retire

    small_system.write({"backup.keep": 1, "backup.keep_for": "1ms"})
    directory, book = small_system.home / "golive/systems/shop/backups", small_system.ledger
    going_on, ended = (
        open_release("shop", "v1", scope="backup", mutates=False, started_by="ann", reason="") for _ in range(2)
    )
    for number, claim in enumerate((going_on, ended, ended)):
        place = directory / f"20260101T00000000{number}-{claim.release_id}"
        (place / "dump").mkdir(parents=True)
        book.evidence.backed_up(
            claim.release_id, "shop", kind="dump", location=str(place), size=1, took=1.0, proven=True, proof={}
        )
    first, second, newest = backups(small_system)
    advance(ended, State.STOPPED, "the test has ended it")
    assert _retire(context_of(going_on))["removed"] == [str(directory / second)]
    assert backups(small_system) == [first, newest]
    advance(going_on, State.STOPPED, "the test has ended it too")
    assert _retire(context_of(going_on))["removed"] == [str(directory / first)]
    assert backups(small_system) == [newest]
