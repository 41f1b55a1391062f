"""A disk becomes full while golive works: it says so, leaves nothing behind, and production is as it was."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from tasks.adapters.postgres import Postgres
from tasks.backup import restore_copy, scratch_cleared, take_backup
from tasks.backups.physical import Physical
from tasks.domain.errors import ChecksFailed, CommandFailed, DiskTooSmall, GoliveError, OutsideError
from tasks.domain.target import Target
from tasks.driving import operation
from tasks.reckoning import room_needed
from tasks.settings import Settings
from tasks.sources.directory import Directory
from tasks.sources.git import Git
from tasks.spec.loading import load
from tests.flows import SmallSystem
from tests.gits import a_repository
from tests.parts import require_part, small_disk
from tests.places import OwnPlace

# Without a log, so that it is always a table's file that finds no room.
MUCH = "CREATE UNLOGGED TABLE {} AS SELECT n, repeat(md5(n::text), 30) AS word FROM generate_series(1, {}) n"


def assert_stopped(shop: SmallSystem, error: GoliveError, phase: str) -> None:
    assert error.do, f"no advice in {error}"
    row = shop.latest()
    assert (row.state, row.mutation_started_at) == ("stopped", None)
    assert [one for one, _name, event in shop.steps() if event == "failed"] == [phase]
    assert error.seen[:40] in shop.notes()


def test_a_disk_that_is_full_before_the_dump_ends_holds_no_part_of_it(shop):
    def back_up() -> None:
        with operation("backup", "shop", "v1") as claim:
            take_backup.fn(claim)

    with small_disk(shop.home / "backups", "8k") as disk:
        shop.write({"backup.directory": str(disk)})
        with shop.untouched(), pytest.raises(CommandFailed, match="No space left on device") as caught:
            back_up()
        assert list(disk.iterdir()) == []
    assert_stopped(shop, caught.value, "backup")


def test_a_disk_that_is_full_when_the_dump_has_ended_holds_no_part_of_it(shop, world, tmp_path):
    from tasks.domain import archive

    def save(into: Path) -> dict[str, object]:
        into.mkdir()
        with pytest.raises(OSError, match="No space left"):
            (into / "data").write_bytes(bytes(20_000))
        return {"tables": {}}

    with small_disk(tmp_path / "backups", "16k") as disk:
        with pytest.raises(DiskTooSmall, match="No space left on device") as caught:
            archive.take(world, disk / "backup", "dump", save, {})
        assert list(disk.iterdir()) == []
    assert "make room" in caught.value.do


def test_a_disk_that_is_full_before_the_servers_files_are_copied_holds_none_of_them(world, pg_server, open_directory):
    kind, dsn = Physical(kind="physical", timeout=60.0), pg_server.dsn()
    with small_disk(open_directory / "backups", "8m") as disk:
        with pytest.raises(CommandFailed, match="No space left on device"):
            kind.take(world, dsn, disk / "backup", {})
        assert list(disk.iterdir()) == []
    taken = kind.take(world, dsn, open_directory / "backup", {})
    with small_disk(open_directory / "scratch", "8m") as disk:
        place = OwnPlace(world, disk / "server")
        with pytest.raises(CommandFailed, match="No space left on device"):
            kind.copy_into(world, taken, place)
        place.remove()
        assert list(disk.iterdir()) == []


def test_a_scratch_disk_that_is_full_before_the_restore_ends_is_left_empty(shop):
    def back_up() -> None:
        with operation("backup", "shop", "v1") as claim, scratch_cleared(claim):
            restore_copy.fn(claim, take_backup.fn(claim))

    shop.sql(MUCH.format("much", 40_000))
    try:
        with small_disk(shop.home / "scratch", "72m") as disk:
            shop.write({"database.scratch": {"place": "embedded", "directory": str(disk)}})
            with shop.untouched(), pytest.raises(CommandFailed, match="No space left on device") as caught:
                back_up()
            assert list(disk.iterdir()) == []
    finally:
        shop.sql("DROP TABLE much")
    assert_stopped(shop, caught.value, "backup")


def test_a_scratch_disk_that_is_full_amid_the_rehearsal_stops_the_release_before_production(shop):
    shop.add_version("v2-much", up={"1_much": MUCH.format("much", 60_000) + ";\n"})
    with small_disk(shop.home / "scratch", "96m") as disk:
        shop.write({"database.scratch": {"place": "embedded", "directory": str(disk)}})
        with shop.untouched(), pytest.raises(DiskTooSmall, match="53100") as caught:
            shop.release("v2-much")
        assert list(disk.iterdir()) == []
    assert "migrations/1_much_up.sql:1" in str(caught.value)
    assert_stopped(shop, caught.value, "rehearse")


def test_the_disk_of_the_copies_is_reckoned_too_before_anything_is_dumped(shop):
    with small_disk(shop.home / "scratch", "12m") as disk:
        shop.write({"database.scratch": {"place": "embedded", "directory": str(disk)}})
        with shop.untouched(), pytest.raises(ChecksFailed, match="there is room"):
            shop.phase("preflight", "v1")
        with shop.untouched(), pytest.raises(DiskTooSmall) as caught:
            shop.phase("backup", "v1")
    assert caught.value.where == str(disk)
    assert_stopped(shop, caught.value, "backup")
    assert "take the backup" not in [name for _phase, name, _event in shop.steps()]


def test_what_copies_take_is_reckoned_where_they_lie(shop, world):
    class Elsewhere(Postgres):
        def address_of(self, dsn: str) -> tuple[str, int]:  # noqa: ARG002 - wherever it is
            return "db.example.org", 5432

    settings = Settings.from_environment()
    backups = shop.home / "golive/systems/shop/backups"
    room = load(shop.path).backup.room(world, shop.dsn)
    assert room_needed(world, load(shop.path), settings, shop.dsn) == {backups: room.backup + room.copies}
    away = replace(world, databases=Elsewhere())
    assert room_needed(away, load(shop.path), settings, shop.dsn) == {backups: room.backup}
    shop.write({"database.scratch": {"place": "embedded", "directory": "/proc/scratch"}})
    needed = {backups: room.backup, Path("/proc/scratch"): room.copies}
    assert room_needed(away, load(shop.path), settings, shop.dsn) == needed


@pytest.mark.parametrize("kind", ["directory", "git"])
def test_a_disk_that_is_full_in_a_checkout_holds_no_version_and_takes_it_once_there_is_room(kind, world, tmp_path):
    builds = a_repository(tmp_path / "builds" / "v1", {"app.py": "print(1)", "big.txt": "x" * 2_000_000}, tag="v1")
    kinds = {"directory": Directory(path=str(builds.parent)), "git": Git(repository=str(builds))}
    with small_disk(tmp_path / "disk", "1m") as disk:
        target = Target(world, "shop", "v1", root=disk / "root")
        with pytest.raises(OutsideError, match="No space left on device"):
            kinds[kind].fetch(target, "v1")
        assert [path.name for path in (disk / "root" / "releases").iterdir()] == []
        subprocess.run([require_part("mount"), "-o", "remount,size=16m", disk], check=True)
        assert (kinds[kind].fetch(target, "v1").directory / "big.txt").stat().st_size == 2_000_000
