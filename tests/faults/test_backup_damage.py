"""Backups that were damaged, or never finished: none of them passes for a good one."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tasks.backups.dump import Dump
from tasks.domain import archive
from tasks.domain.archive import MANIFEST, Archive, require_equal
from tasks.domain.errors import BackupNotProven
from tasks.domain.fingerprint import fingerprint
from tasks.domain.ports import RunningServer, World

ROOT = Path(__file__).parents[2]
DATA = """
CREATE TABLE item AS SELECT n, md5(n::text) AS word FROM generate_series(1, 500) n;
CREATE TABLE other AS SELECT n FROM generate_series(1, 5) n;
"""


def run(world: World, dsn: str, script: str) -> None:
    with world.databases.session(dsn) as session:
        session.script(script)


@pytest.fixture
def taken(world: World, database: str, tmp_path: Path) -> Archive:
    run(world, database, DATA)
    return Dump(jobs=1, timeout=60.0).take(world, database, tmp_path / "backup", {})


def largest(taken: Archive) -> Path:
    return max(taken.content.iterdir(), key=lambda path: path.stat().st_size)


def truncated(taken: Archive) -> None:
    path = largest(taken)
    os.truncate(path, path.stat().st_size // 2)


def emptied(taken: Archive) -> None:
    os.truncate(largest(taken), 0)


def flipped(taken: Archive) -> None:
    content = bytearray(largest(taken).read_bytes())
    content[len(content) // 2] ^= 1
    largest(taken).write_bytes(content)


def flipped_in_the_last_byte(taken: Archive) -> None:
    content = bytearray((taken.content / "toc.dat").read_bytes())
    content[-1] ^= 0x80
    (taken.content / "toc.dat").write_bytes(content)


def longer(taken: Archive) -> None:
    with largest(taken).open("ab") as file:
        file.write(b"\0")


def without_a_file(taken: Archive) -> None:
    largest(taken).unlink()


def without_the_dump(taken: Archive) -> None:
    shutil.rmtree(taken.content)


def with_a_file_more(taken: Archive) -> None:
    (taken.content / "9999.dat.gz").write_bytes(b"more")


def with_a_second_manifest(taken: Archive) -> None:
    (taken.content / MANIFEST).write_text("{}")


def swapped(taken: Archive) -> None:
    first, second = sorted(taken.content.glob("*.dat*"))[:2]
    first.rename(first.with_suffix(".x"))
    second.rename(first)
    first.with_suffix(".x").rename(second)


def manifest_gone(taken: Archive) -> None:
    (taken.directory / MANIFEST).unlink()


def manifest_says(text: str) -> Callable[[Archive], None]:
    def damage(taken: Archive) -> None:
        (taken.directory / MANIFEST).write_text(text)

    return damage


def manifest_cut(taken: Archive) -> None:
    path = taken.directory / MANIFEST
    os.truncate(path, path.stat().st_size - 20)


def everything_gone(taken: Archive) -> None:
    shutil.rmtree(taken.directory)


DAMAGES = [
    truncated, emptied, flipped, flipped_in_the_last_byte, longer, without_a_file, without_the_dump, with_a_file_more,
    with_a_second_manifest, swapped, manifest_gone, manifest_cut, everything_gone,
    pytest.param(manifest_says(""), id="manifest_empty"),
    pytest.param(manifest_says("[]"), id="manifest_a_list"),
    pytest.param(manifest_says("null"), id="manifest_null"),
    pytest.param(manifest_says("{}"), id="manifest_without_keys"),
    pytest.param(manifest_says('{"files": [], "tables": {}}'), id="manifest_of_no_files"),
    pytest.param(manifest_says('{"files": {}, "tables": 5}'), id="manifest_of_no_tables"),
    pytest.param(manifest_says('{"files": "x", "tables": {}}'), id="manifest_of_another_form"),
]  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_backup_is_not_proven(damage, taken):
    assert archive.load(taken.directory).digest == taken.digest
    damage(taken)
    with pytest.raises(BackupNotProven) as caught:
        archive.load(taken.directory)
    assert str(taken.directory) in str(caught.value)
    assert "→" in str(caught.value)


def test_what_is_wrong_is_named(taken):
    victim = largest(taken)
    flipped(taken)
    with pytest.raises(BackupNotProven, match=rf"1 files are not what was dumped: dump/{victim.name}"):
        archive.load(taken.directory)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_file_that_may_not_be_read_is_not_proven(taken):
    largest(taken).chmod(0)
    with pytest.raises(BackupNotProven, match="Permission denied"):
        archive.load(taken.directory)


@pytest.fixture
def copy(world: World, pg_server: RunningServer, database: str, taken: Archive) -> Iterator[str]:
    name = world.databases.name_of(database) + "_copy"
    run(world, pg_server.dsn(), f"CREATE DATABASE {name} TEMPLATE template0")
    dsn = world.databases.with_database(database, name)
    version = taken.manifest["server_version"]
    world.pg_tools.restore(taken.content, dsn, server_version=version, jobs=1, timeout=60)
    yield dsn
    run(world, pg_server.dsn(), f"DROP DATABASE {name} WITH (FORCE)")


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("rows", 499, "499 rows (hash"),
        ("hash", "1", "500 rows (hash 1) dumped"),
    ],
)
def test_a_manifest_whose_figures_were_edited_is_found_out_by_the_restored_copy(key, value, said, taken, copy, world):
    with world.databases.session(copy) as session:
        restored = fingerprint(session)
    require_equal(archive.load(taken.directory), restored)
    path = taken.directory / MANIFEST
    manifest = json.loads(path.read_text())
    manifest["tables"]["public.item"][key] = value
    path.write_text(json.dumps(manifest))
    edited = archive.load(taken.directory)
    assert edited.digest != taken.digest, "the digest that is on record tells that the manifest was edited"
    with pytest.raises(BackupNotProven, match="1 of 2 tables differ") as caught:
        require_equal(edited, restored)
    assert said in str(caught.value)
    assert "public.item" in str(caught.value)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        ("DELETE FROM item WHERE n = 7", "public.item: 500 rows"),
        ("UPDATE item SET word = 'x' WHERE n = 7", "public.item: 500 rows"),
        ("DROP TABLE other", "public.other: 5 rows (hash"),
        ("CREATE TABLE more (n int)", "public.more: no table dumped, 0 rows"),
    ],
)
def test_a_restored_copy_that_is_not_what_was_dumped_is_not_proven(damage, said, taken, copy, world):
    run(world, copy, damage)
    with world.databases.session(copy) as session, pytest.raises(BackupNotProven) as caught:
        require_equal(taken, fingerprint(session))
    assert said in str(caught.value)


@dataclass
class Killed:
    directory: Path

    @property
    def partial(self) -> Path:
        return self.directory.with_name(f".partial-{self.directory.name}")


TAKE = """
import sys
from pathlib import Path
from tasks.backups.dump import Dump
from tasks.domain import archive
from tasks.context import world
dsn, directory = sys.stdin.read().splitlines()
Dump(jobs=1, timeout=60.0).take(world(), dsn, Path(directory), {})
"""


@pytest.fixture
def killed(world: World, database: str, tmp_path: Path) -> Killed:
    """A backup that was killed while pg_dump was at work."""
    run(world, database, DATA)
    of = Killed(tmp_path / "backup")
    with (
        world.databases.session(database) as looker,
        world.databases.session(database) as blocker,
        blocker.transaction(),
    ):
        # pg_dump waits for the lock, and the backup with it.
        blocker.execute("LOCK TABLE item IN ACCESS EXCLUSIVE MODE")
        process = subprocess.Popen([sys.executable, "-c", TAKE], cwd=ROOT, stdin=subprocess.PIPE)
        try:
            assert process.stdin is not None
            process.stdin.write(f"{database}\n{of.directory}\n".encode())
            process.stdin.close()
            waiting = (
                "SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database "
                "WHERE NOT granted AND d.datname = current_database()"
            )
            deadline = time.monotonic() + 30
            while looker.value(waiting) < 2:
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.05)
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait(10)
        looker.query(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = current_database() "
            "AND wait_event_type = 'Lock'"
        )
    return of


def test_a_backup_that_was_killed_is_not_there_and_the_next_one_replaces_what_it_left(killed, world, database):
    assert not killed.directory.exists()
    assert killed.partial.exists()
    assert killed.partial.stat().st_mode & 0o777 == 0o700
    with pytest.raises(BackupNotProven):
        archive.load(killed.directory)
    with pytest.raises(BackupNotProven):
        archive.load(killed.partial)
    taken = Dump(jobs=1, timeout=60.0).take(world, database, killed.directory, {})
    assert [path.name for path in killed.directory.parent.iterdir()] == ["backup"]
    assert {name: one["rows"] for name, one in taken.tables.items()} == {"public.item": 500, "public.other": 5}
