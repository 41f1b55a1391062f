"""Production's schema changes while the dump is made: what is kept is one moment of it, or there is no backup."""

from __future__ import annotations

import threading
from contextlib import contextmanager

import pytest

from tasks.backups.dump import Dump
from tasks.domain import archive
from tasks.domain.errors import GoliveError
from tests.flows import wait_until
from tests.places import PlaceBeside, run

DATA = """
CREATE TABLE first AS SELECT n FROM generate_series(1, 300) n;
CREATE TABLE doomed AS SELECT n FROM generate_series(1, 30) n;
CREATE TABLE parted (n int) PARTITION BY RANGE (n);
"""


@pytest.fixture
def disturbed(world, production, monkeypatch):
    """Lets something be done to production right after the snapshot, before anything is read in it."""

    def disturb(statement):
        @contextmanager
        def exported_snapshot(session):
            with archive.exported_snapshot(session) as snapshot:
                run(world, production, statement)
                yield snapshot

        monkeypatch.setattr("tasks.backups.dump.exported_snapshot", exported_snapshot)

    return disturb


@pytest.fixture
def production(world, database):
    run(world, database, DATA)
    return database


@pytest.fixture
def beside(world, production):
    place = PlaceBeside(world, production)
    yield place
    place.remove()


def rows_of(world, taken, place, production):
    kind = Dump(jobs=1, timeout=60.0)
    proof = kind.prove(world, taken, kind.copy_into(world, taken, place), production)
    return {name.removeprefix("public."): one["rows"] for name, one in proof["tables"].items()}


def test_tables_made_and_dropped_while_the_dump_is_under_way_are_kept_as_they_were_when_it_began(
    world, production, beside, tmp_path
):
    taken = []
    dumping = threading.Thread(
        target=lambda: taken.append(Dump(jobs=1, timeout=60.0).take(world, production, tmp_path / "backup", {}))
    )
    dropping = threading.Thread(target=lambda: run(world, production, "DROP TABLE doomed"))
    waits = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = %s::regclass"
    with world.databases.session(production) as looker, world.databases.session(production) as blocker:
        with blocker.transaction():
            # It holds no rows of its own, so that pg_dump alone has to do with it, and waits.
            blocker.execute("LOCK TABLE parted IN ACCESS EXCLUSIVE MODE")
            dumping.start()
            wait_until(lambda: looker.value(waits, ("parted",)) >= 1)
            dropping.start()
            wait_until(lambda: looker.value(waits, ("doomed",)) >= 1)
            run(world, production, "CREATE TABLE late AS SELECT n FROM generate_series(1, 7) n")
            run(world, production, "INSERT INTO first VALUES (301)")
        dumping.join(60)
        dropping.join(60)
        assert looker.value("SELECT to_regclass('doomed')") is None, "the drop had only to wait"
    assert rows_of(world, taken[0], beside, production) == {"first": 300, "doomed": 30}


@pytest.mark.parametrize(
    "disturbance", ["DROP TABLE doomed", "ALTER TABLE doomed RENAME TO other", "ALTER TABLE doomed DROP COLUMN n"]
)
def test_a_table_changed_between_the_snapshot_and_the_dump_gives_no_backup_and_the_next_try_is_good(
    world, production, beside, tmp_path, disturbed, monkeypatch, disturbance
):
    disturbed(disturbance)
    with pytest.raises(GoliveError, match="doomed"):
        Dump(jobs=1, timeout=60.0).take(world, production, tmp_path / "backup", {})
    assert list(tmp_path.iterdir()) == []
    monkeypatch.undo()
    taken = Dump(jobs=1, timeout=60.0).take(world, production, tmp_path / "backup", {})
    assert rows_of(world, taken, beside, production)["first"] == 300


def test_a_table_emptied_and_one_made_between_the_snapshot_and_the_dump_are_the_same_on_both_sides(
    world, production, beside, tmp_path, disturbed
):
    """TRUNCATE does not keep to snapshots: even an older one then sees the table empty."""
    disturbed("TRUNCATE doomed; CREATE TABLE late AS SELECT 1 AS n; INSERT INTO first VALUES (301)")
    taken = Dump(jobs=1, timeout=60.0).take(world, production, tmp_path / "backup", {})
    assert rows_of(world, taken, beside, production) == {"first": 300, "doomed": 0}
