"""What every kind of backup keeps: whole or not there, proven by a copy, never proven when anything is amiss."""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tasks import backups
from tasks.backups import Backup
from tasks.domain import archive
from tasks.domain.archive import MANIFEST, Archive
from tasks.domain.errors import BackupNotProven, GoliveError
from tasks.domain.fingerprint import LARGE_OBJECTS
from tasks.domain.ports import World
from tests.places import OwnPlace, run

ROOT = Path(__file__).parents[2]
NAMES = [info.name for info in pkgutil.iter_modules(backups.__path__)]
DATA = """
CREATE TABLE busy (id bigserial PRIMARY KEY, n int);
INSERT INTO busy (n) SELECT generate_series(1, 3000);
CREATE TABLE quiet AS SELECT n, md5(n::text) AS word FROM generate_series(1, 2000) n;
CREATE SCHEMA "Other";
CREATE TABLE "Other"."Mixed Case" (n int, twice int GENERATED ALWAYS AS (n * 2) STORED);
INSERT INTO "Other"."Mixed Case" SELECT generate_series(1, 7);
CREATE TABLE parted (n int) PARTITION BY RANGE (n);
CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (0) TO (10);
INSERT INTO parted VALUES (1), (2);
SELECT lo_from_bytea(0, 'a large object');
"""


def class_of(name: str) -> type[Backup]:
    module = importlib.import_module(f"tasks.backups.{name}")
    (found,) = (
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Backup) and value.__module__ == module.__name__
    )
    return found


@pytest.fixture(params=NAMES)
def kind(request):
    return class_of(request.param)(kind=request.param, timeout=60.0)


@pytest.fixture
def place(world, open_directory):
    yield OwnPlace(world, open_directory / "scratch")
    world.pg_servers.remove(open_directory / "scratch")


@pytest.fixture
def production(world, database):
    run(world, database, DATA)
    return database


@pytest.fixture
def taken(world, kind, production, tmp_path):
    return kind.take(world, production, tmp_path / "backup", {"system": "shop"})


@contextmanager
def writes(world: World, dsn: str) -> Iterator[list[int]]:
    """Write to one table all the while, and count how often."""
    ended, count = threading.Event(), [0]

    def write() -> None:
        with world.databases.session(dsn) as session:
            while not ended.wait(0.001):
                session.execute("INSERT INTO busy (n) VALUES (1)")
                session.execute("DELETE FROM busy WHERE id = %s", (count[0],))
                count[0] += 1

    writer = threading.Thread(target=write, daemon=True)
    writer.start()
    try:
        yield count
    finally:
        ended.set()
        writer.join(10)


def test_a_copy_is_proven_although_production_goes_on_writing(world, kind, production, place, tmp_path):
    kind.require_possible(world, production, place)
    assert kind.room(world, production) > 0
    with writes(world, production) as count:
        taken = kind.take(world, production, tmp_path / "backup", {"system": "shop"})
        assert taken.kind == kind.kind
        assert kind.verify(world, taken)
        copy = kind.copy_into(world, taken, place)
        proof = kind.prove(world, taken, copy, production)
    assert count[0] > 3
    tables = proof["tables"]
    assert {"public.busy", "public.quiet", '"Other"."Mixed Case"', "public.parted_1", LARGE_OBJECTS} <= set(tables)
    assert tables["public.quiet"]["rows"] == 2000
    assert tables[LARGE_OBJECTS]["rows"] == 1
    assert taken.manifest["system"] == "shop"
    assert set(taken.manifest) >= {"tables", "counters", "server_version", "tools", "kind", "files"}
    json.dumps(proof)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        ("UPDATE quiet SET word = 'x' WHERE n = 7", "public.quiet"),
        ("DROP TABLE quiet", "public.quiet"),
        ("CREATE TABLE more (n int)", "public.more"),
        ("SELECT lo_put(oid, 2, 'x') FROM pg_largeobject_metadata", LARGE_OBJECTS),
        ("SELECT lo_unlink(oid) FROM pg_largeobject_metadata", LARGE_OBJECTS),
    ],
)
def test_a_copy_that_is_not_what_was_backed_up_is_not_proven(damage, said, world, kind, production, taken, place):
    copy = kind.copy_into(world, taken, place)
    kind.prove(world, taken, copy, production)
    run(world, copy, damage)
    with pytest.raises(BackupNotProven, match="differ") as caught:
        kind.prove(world, taken, copy, production)
    assert said in str(caught.value)


def test_a_copy_can_be_made_again_in_the_same_place(world, kind, production, taken, place):
    run(world, kind.copy_into(world, taken, place), "DROP TABLE quiet")
    kind.prove(world, taken, kind.copy_into(world, taken, place), production)


def test_a_backup_is_put_back_beside_the_live_database_with_its_rights(
    world, kind, database, pg_server, place, tmp_path
):
    name = world.databases.name_of(database)
    beside = world.databases.with_database(database, f"{name}_back")
    run(world, database, DATA + f"CREATE ROLE {name}_reader; GRANT SELECT ON quiet TO {name}_reader;")
    try:
        taken = kind.take(world, database, tmp_path / "backup", {})
        run(world, pg_server.dsn(), f"CREATE DATABASE {name}_back TEMPLATE template0")
        kind.put_back(world, taken, beside, place)
        with world.databases.session(beside) as session:
            assert session.value("SELECT has_table_privilege(%s, 'quiet', 'SELECT')", (f"{name}_reader",))
            assert session.value("SELECT count(*) FROM quiet") == 2000
    finally:
        run(world, pg_server.dsn(), f"DROP DATABASE IF EXISTS {name}_back WITH (FORCE)")
        run(world, database, f"DROP OWNED BY {name}_reader; DROP ROLE {name}_reader")


def largest(taken: Archive) -> Path:
    return max((path for path in taken.content.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)


def truncated(taken: Archive) -> None:
    os.truncate(largest(taken), largest(taken).stat().st_size // 2)


def flipped(taken: Archive) -> None:
    content = bytearray(largest(taken).read_bytes())
    content[len(content) // 2] ^= 1
    largest(taken).write_bytes(content)


def without_a_file(taken: Archive) -> None:
    largest(taken).unlink()


def with_a_file_more(taken: Archive) -> None:
    (taken.content / "9999.more").write_bytes(b"more")


def manifest_cut(taken: Archive) -> None:
    os.truncate(taken.directory / MANIFEST, 20)


def manifest_gone(taken: Archive) -> None:
    (taken.directory / MANIFEST).unlink()


def content_gone(taken: Archive) -> None:
    shutil.rmtree(taken.content)


@pytest.mark.parametrize(
    "damage", [truncated, flipped, without_a_file, with_a_file_more, manifest_cut, manifest_gone, content_gone]
)
def test_a_damaged_backup_is_not_proven(damage, taken):
    damage(taken)
    with pytest.raises(BackupNotProven) as caught:
        archive.load(taken.directory)
    assert str(taken.directory) in str(caught.value)


@pytest.mark.parametrize("damage", [truncated, without_a_file])
def test_damage_is_found_although_the_manifest_was_made_to_agree_with_it(damage, world, kind, production, taken, place):
    damage(taken)
    manifest = json.loads((taken.directory / MANIFEST).read_text())
    manifest["files"] = {
        str(path.relative_to(taken.directory)): archive.sha256(path)
        for path in taken.content.rglob("*")
        if path.is_file()
    }
    (taken.directory / MANIFEST).write_text(json.dumps(manifest))
    edited = archive.load(taken.directory)
    assert edited.digest != taken.digest
    with pytest.raises(GoliveError):  # noqa: PT012 - which of the three finds it depends on the kind
        kind.verify(world, edited)
        kind.prove(world, edited, kind.copy_into(world, edited, place), production)


@pytest.mark.parametrize(("key", "value"), [("rows", 1999), ("hash", "1")])
def test_a_manifest_whose_figures_were_edited_is_not_proven(key, value, world, kind, production, taken, place):
    manifest = json.loads((taken.directory / MANIFEST).read_text())
    manifest["tables"]["public.quiet"][key] = value
    (taken.directory / MANIFEST).write_text(json.dumps(manifest))
    edited = archive.load(taken.directory)
    with pytest.raises(BackupNotProven, match=r"public\.quiet"):
        kind.prove(world, edited, kind.copy_into(world, edited, place), production)


def test_a_backup_is_for_its_owner_alone(taken):
    for path in [taken.directory, *taken.directory.rglob("*")]:
        assert path.stat().st_mode & 0o777 == (0o700 if path.is_dir() else 0o600), path


TAKE = """
import importlib, sys
from pathlib import Path
from tasks.context import world
from tasks.spec.kinds import kinds_in
from tasks import backups
kind, dsn, directory = sys.stdin.read().splitlines()
kinds_in(backups)[kind](timeout=60.0).take(world(), dsn, Path(directory), {})
"""


def test_a_backup_that_was_killed_half_way_leaves_nothing_that_looks_finished(world, kind, production, tmp_path):
    directory = tmp_path / "backup"
    with world.databases.session(production) as blocker, blocker.transaction():
        # Every kind reads the tables, and waits here for this one.
        blocker.execute("LOCK TABLE quiet IN ACCESS EXCLUSIVE MODE")
        process = subprocess.Popen([sys.executable, "-c", TAKE], cwd=ROOT, stdin=subprocess.PIPE)
        try:
            assert process.stdin is not None
            process.stdin.write(f"{kind.kind}\n{production}\n{directory}\n".encode())
            process.stdin.close()
            with world.databases.session(production) as looker:
                deadline = time.monotonic() + 40
                while not looker.value(
                    "SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database "
                    "WHERE NOT granted AND d.datname = current_database()"
                ):
                    assert process.poll() is None
                    assert time.monotonic() < deadline
                    time.sleep(0.05)
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait(10)
        with world.databases.session(production) as looker:
            looker.query(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = current_database() "
                "AND wait_event_type = 'Lock'"
            )
    assert not directory.exists()
    assert [path.name for path in tmp_path.iterdir()] == [".partial-backup"]
    with pytest.raises(BackupNotProven):
        archive.load(tmp_path / ".partial-backup")
    kind.take(world, production, directory, {})
    assert [path.name for path in tmp_path.iterdir()] == ["backup"]


def test_a_backup_that_takes_too_long_is_given_up_and_leaves_nothing(world, kind, production, tmp_path):
    with pytest.raises(GoliveError):
        type(kind)(kind=kind.kind, timeout=0.001).take(world, production, tmp_path / "backup", {})
    assert list(tmp_path.iterdir()) == []
