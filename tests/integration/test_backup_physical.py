"""The physical backup: the whole server's files, checked by their sums, run as a copy, compared with production."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tasks.adapters.pg_server import EmbeddedServers
from tasks.backups.physical import Physical
from tasks.context import world as world_of_golive
from tasks.domain import archive
from tasks.domain.archive import Archive
from tasks.domain.backup_manifest import verify_files
from tasks.domain.errors import AccessDenied, BackupNotProven, OutsideError, UserError
from tasks.domain.ports import RunningServer
from tests.flows import wait_until
from tests.places import OwnPlace, PlaceBeside, run
from tests.smallest import linked

ROOT = Path(__file__).parents[2]
SEGMENT = 16 * 1024 * 1024


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    directory = Path(tempfile.mkdtemp(prefix="golive-test-"))
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="module")
def place(home: Path) -> Iterator[OwnPlace]:
    found = OwnPlace(world_of_golive(), home / "scratch")
    yield found
    found.remove()


@dataclass(frozen=True)
class Taken:
    """A backup, and the database that it was taken of."""

    archive: Archive
    database: str


@pytest.fixture(scope="module")
def once(pg_server: RunningServer, home: Path) -> Iterator[Taken]:
    """One backup for all tests; they spoil but links to its files."""
    world = world_of_golive()
    run(world, pg_server.dsn(), "CREATE DATABASE physical_once")
    dsn = world.databases.with_database(pg_server.dsn(), "physical_once")
    run(world, dsn, "CREATE TABLE item AS SELECT n FROM generate_series(1, 1000) n; CHECKPOINT")
    yield Taken(Physical(timeout=60.0).take(world, dsn, home / "once", {}), dsn)
    run(world, pg_server.dsn(), "DROP DATABASE physical_once WITH (FORCE)")


@pytest.fixture
def taken(once: Taken, home: Path) -> Archive:
    linked(once.archive.directory, home / "backup")
    return archive.load(home / "backup")


def test_the_copy_has_settings_of_its_own_and_tells_what_was_written_since_from_what_differs(world, once, place):
    taken, database = once.archive, once.database
    run(world, database, "CREATE TABLE other AS SELECT 1 AS n")
    copy = Physical().copy_into(world, taken, place)
    proof = Physical().prove(world, taken, copy, database)
    assert (proof["changed_since"], proof["equal"]) == ({}, 1)
    run(world, copy, "DELETE FROM item WHERE n = 1")
    with pytest.raises(BackupNotProven, match="1 of 1 tables differ"):
        Physical().prove(world, taken, copy, database)
    # Had production written to the table since the backup began, its counter would tell.
    run(world, database, "DELETE FROM item WHERE n = 1")
    proof = Physical().prove(world, taken, copy, database)
    assert proof["equal"] == 0
    assert proof["changed_since"]["public.item"]["after"] > proof["changed_since"]["public.item"]["before"]
    with world.databases.session(copy) as session:
        for name, value in (("archive_mode", "off"), ("fsync", "off"), ("max_logical_replication_workers", "0")):
            assert session.value(f"SHOW {name}") == value
        assert session.value("SELECT current_setting('port')") != str(world.databases.address_of(database)[1])
        assert session.value("SELECT pg_is_in_recovery()") is False


def test_how_many_files_were_verified_is_told(world, taken):
    assert Physical().verify(world, taken)["files_verified"] > 900


def test_a_server_of_an_older_version_is_verified_and_booted(world, open_directory, place, tmp_path):
    with EmbeddedServers().throwaway(open_directory / "old", major=16) as server:
        if not _is(world, server.dsn(), 16):
            pytest.skip("there is no server of version 16")
        run(world, server.dsn(), "CREATE DATABASE shop")
        dsn = server.dsn("shop")
        run(world, dsn, "CREATE TABLE item AS SELECT n FROM generate_series(1, 10) n")
        run(world, dsn, "CREATE UNLOGGED TABLE passing AS SELECT 1 AS n")
        taken = Physical(timeout=60.0, rate=500_000_000).take(world, dsn, tmp_path / "backup", {})
        copy = Physical().copy_into(world, taken, place)
        proof = Physical().prove(world, taken, copy, dsn)
    assert proof["files_verified"] > 900
    assert proof["tables"]["public.passing"]["rows"] == 1
    assert proof["unlogged"] == ["public.passing"]
    assert _is(world, copy, 16)


def _is(world, dsn, major):
    with world.databases.session(dsn) as session:
        return session.server_version // 10000 == major


def anew(path: Path, content: bytes | bytearray) -> None:
    """Give a file other content as a new file: the one that it was is shared with other tests."""
    path.unlink()
    path.write_bytes(content)


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    anew(path, content)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda d: flip(d / "global/pg_control"), "global/pg_control"),
        (lambda d: (d / "PG_VERSION").unlink(), r"PG_VERSION \(missing\)"),
        (lambda d: (d / "base/more").write_text("x"), "base/more"),
        (lambda d: flip(d / "backup_manifest"), "backup_manifest"),
        (lambda d: (d / "backup_manifest").unlink(), "cannot be read"),
        (lambda d: anew(d / "backup_manifest", b"{}"), "cannot be read"),
        (lambda d: anew(next((d / "pg_wal").glob("0*0*")), b"short"), "pg_wal/"),
        (lambda d: [path.unlink() for path in (d / "pg_wal").glob("0*")], "no log file"),
    ],
)
def test_golives_own_check_of_the_servers_manifest_finds_what_is_damaged(damage, said, taken):
    damage(taken.content)
    with pytest.raises(BackupNotProven, match=said):
        verify_files(taken.content, segment=SEGMENT)


def test_an_entry_removed_from_the_servers_manifest_is_found(taken):
    verify_files(taken.content, segment=SEGMENT)
    path = taken.content / "backup_manifest"
    manifest = json.loads(path.read_text())
    manifest["Files"] = manifest["Files"][1:]
    anew(path, json.dumps(manifest).encode())
    with pytest.raises(BackupNotProven, match="its own checksum differs"):
        verify_files(taken.content, segment=SEGMENT)


def test_a_role_without_the_right_to_replicate_is_refused_before_anything(world, database, place, tmp_path):
    role = world.databases.name_of(database) + "_role"
    run(world, database, f"CREATE ROLE {role} LOGIN PASSWORD 'word'; GRANT CREATE ON SCHEMA public TO {role}")
    _, _, after = database.partition("@")
    try:
        with pytest.raises(AccessDenied, match="may not copy the server's files") as caught:
            Physical().require_possible(world, f"postgresql://{role}:word@{after}", place)
        assert f'ALTER ROLE "{role}" REPLICATION' in caught.value.do
        with pytest.raises(AccessDenied, match="no connection for replication") as caught:
            world.pg_tools.require_replication(f"postgresql://{role}:word@{after}")
        assert "word" not in str(caught.value).replace("password", "")
    finally:
        run(world, database, f"DROP OWNED BY {role}; DROP ROLE {role}")


def test_tablespaces_and_a_place_that_others_use_are_refused(world, database, place, open_directory):
    with pytest.raises(UserError, match="a server of golive's own"):
        Physical().require_possible(world, database, PlaceBeside(world, database))
    name = world.databases.name_of(database) + "_space"
    with world.databases.session(database) as session:
        session.execute("SET allow_in_place_tablespaces = on")
        session.execute(f"CREATE TABLESPACE {name} LOCATION ''")
        try:
            with pytest.raises(OutsideError, match=name):
                Physical().require_possible(world, database, place)
        finally:
            session.execute(f"DROP TABLESPACE {name}")


COPY = """
import sys
from pathlib import Path
from tasks.context import world
dsn, directory, version = sys.stdin.read().split()
world().pg_tools.base_backup(dsn, Path(directory), server_version=int(version), rate=1_000_000, timeout=60)
"""


def test_a_copy_that_was_killed_leaves_nobody_behind_who_receives_the_log(world, database, tmp_path):
    receiving = "SELECT count(*) FROM pg_stat_replication"
    with world.databases.session(database) as looker:
        process = subprocess.Popen([sys.executable, "-c", COPY], cwd=ROOT, stdin=subprocess.PIPE)
        assert process.stdin is not None
        process.stdin.write(f"{database} {tmp_path / 'copy'} {looker.server_version}".encode())
        process.stdin.close()
        try:
            wait_until(lambda: looker.value(f"{receiving} WHERE state = 'streaming'"))
        finally:
            process.kill()
            process.wait(10)
        # What the next try does; the program cannot go on, and says so to nobody.
        shutil.rmtree(tmp_path / "copy")
        wait_until(lambda: not looker.value(receiving), 30)
