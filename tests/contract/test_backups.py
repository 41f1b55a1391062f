"""What every kind of backup keeps: whole or not there, proven by a copy, never proven when anything is amiss."""

from __future__ import annotations

import importlib
import json
import pkgutil
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from tasks import backups
from tasks.backups import Backup
from tasks.context import world as real_world
from tasks.domain import archive, sealing
from tasks.domain.archive import Archive
from tasks.domain.errors import BackupNotProven, GoliveError
from tasks.domain.fingerprint import LARGE_OBJECTS
from tasks.domain.ports import World
from tests.damages import LARGEST, PLAIN, Victim, agreeing, cut, gone, manifest
from tests.flows import wait_until
from tests.places import OwnPlace, run
from tests.smallest import linked, smallest_server
from tests.stanza import running_stanza
from tests.stores import a_key, lies_at

ROOT = Path(__file__).parents[2]
NAMES = [info.name for info in pkgutil.iter_modules(backups.__path__) if not info.name.startswith("_")]
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
SELECT lo_from_bytea(4711, 'a large object');
CREATE UNLOGGED TABLE passing AS SELECT n FROM generate_series(1, 30) n;
"""
HELD = {
    "tables": "SELECT count(*), sum(n) FROM quiet",
    "unlogged": "SELECT count(*), sum(n), (SELECT relpersistence FROM pg_class WHERE relname = 'passing') FROM passing",
    "large objects": "SELECT oid, lo_get(oid) AS content FROM pg_largeobject_metadata",
    "owners": "SELECT relname, relowner::regrole::text FROM pg_class WHERE relname IN ('busy', 'quiet') ORDER BY 1",
    "grants": "SELECT relacl::text FROM pg_class WHERE relname = 'quiet'",
    "columns": "SELECT attacl::text FROM pg_attribute WHERE attrelid = 'quiet'::regclass AND attname = 'word'",
    "schemas": "SELECT nspacl::text FROM pg_namespace WHERE nspname = 'Other'",
    "defaults": "SELECT defaclacl::text FROM pg_default_acl",
    "policies": "SELECT polname, polroles::regrole[]::text FROM pg_policy",
}


def class_of(name: str) -> type[Backup]:
    module = importlib.import_module(f"tasks.backups.{name}")
    (found,) = (
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Backup) and value.__module__ == module.__name__
    )
    return found


@dataclass(frozen=True)
class Setting:
    """A kind of backup and the DSN of a server that it can back up."""

    kind: Backup
    server: str


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    directory = Path(tempfile.mkdtemp(prefix="golive-test-"))
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="module", params=NAMES)
def setting(request, home):
    """Each kind with a server: pgBackRest with one of its own, as it does not know every version, files with few."""
    if request.param == "pgbackrest":
        with running_stanza() as stanza:
            yield Setting(class_of("pgbackrest")(kind="pgbackrest", timeout=60.0, **stanza.options), stanza.dsn)
        return
    kind = class_of(request.param)(kind=request.param, timeout=60.0)
    if kind.copies_files:
        with smallest_server(home / "server") as server:
            yield Setting(kind, server.dsn())
    else:
        yield Setting(kind, request.getfixturevalue("pg_server").dsn())


@contextmanager
def database_on(server: str) -> Iterator[str]:
    name = f"test_{secrets.token_hex(6)}"
    run(real_world(), server, f"CREATE DATABASE {name}")
    yield real_world().databases.with_database(server, name)
    run(real_world(), server, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def kind(setting):
    return setting.kind


@pytest.fixture(scope="module")
def place(home):
    """Where each test makes its copies anew; a server that dumps are restored into is made but once."""
    found = OwnPlace(real_world(), home / "scratch")
    yield found
    found.remove()


@pytest.fixture
def database(setting):
    with database_on(setting.server) as dsn:
        yield dsn


@pytest.fixture
def production(world, database):
    run(world, database, DATA)
    return database


@dataclass(frozen=True)
class Taken:
    """A backup, and the database that it was taken of, to which no test writes."""

    archive: Archive
    production: str


@pytest.fixture(scope="module")
def once(setting, tmp_path_factory):
    """One backup for all tests that only spoil its directory or its copy."""
    with database_on(setting.server) as dsn:
        run(real_world(), dsn, DATA)
        directory = tmp_path_factory.mktemp("once") / "backup"
        yield Taken(setting.kind.take(real_world(), dsn, directory, {"system": "shop"}), dsn)


@pytest.fixture
def taken(once, tmp_path):
    linked(once.archive.directory, tmp_path / "backup")
    return archive.load(tmp_path / "backup")


def victim(taken: Archive, directory: Path) -> Victim:
    """Return a copy of a backup that damage may be done to."""
    linked(taken.directory, directory)
    files = [path for path in taken.content.rglob("*") if path.is_file()]
    largest = max(files, key=lambda path: path.stat().st_size).relative_to(taken.content)
    return Victim(directory, taken.kind, taken.directory, {LARGEST: largest}, {})


@pytest.fixture
def hurried(world):
    """The world, where nobody writes and so nobody need wait for what other sessions might still report."""

    class Hurried:
        now, monotonic = world.clock.now, world.clock.monotonic

        def sleep(self, seconds: float) -> None:
            pass

    return replace(world, clock=Hurried())


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
    room = kind.room(world, production)
    assert min(room.backup, room.copies) > 0
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
    assert set(taken.manifest) >= {"tables", "counters", "snapshot", "server_version", "tools", "kind", "files"}
    json.dumps(proof)


def test_neither_a_copy_that_is_not_what_was_backed_up_nor_edited_figures_are_proven(hurried, kind, once, taken, place):
    world = hurried
    copy = kind.copy_into(world, taken, place)
    kind.prove(world, taken, copy, once.production)
    damages = {
        "UPDATE quiet SET word = 'x' WHERE n = 7": "public.quiet",
        'DROP TABLE "Other"."Mixed Case"': '"Other"."Mixed Case"',
        "CREATE TABLE more (n int)": "public.more",
        "SELECT lo_put(oid, 2, 'x') FROM pg_largeobject_metadata": LARGE_OBJECTS,
        "TRUNCATE passing": "public.passing",
    }
    for count, (damage, said) in enumerate(damages.items(), start=1):
        run(world, copy, damage)
        with pytest.raises(BackupNotProven, match=f"^(.*: )?{count} of .* differ") as caught:
            kind.prove(world, taken, copy, once.production)
        assert said in str(caught.value)
    run(world, copy, "SELECT lo_unlink(oid) FROM pg_largeobject_metadata")
    with pytest.raises(BackupNotProven, match=LARGE_OBJECTS):
        kind.prove(world, taken, copy, once.production)
    # What was damaged is replaced, and not built upon.
    copy = kind.copy_into(world, taken, place)
    kind.prove(world, taken, copy, once.production)
    run(world, copy, "SELECT setval('busy_id_seq', 2999)")
    with pytest.raises(BackupNotProven, match=r"1 sequences differ .*public\.busy_id_seq"):
        kind.prove(world, taken, copy, once.production)
    run(world, copy, "SELECT setval('busy_id_seq', 3000)")
    edited = with_other_figures(taken)
    with pytest.raises(BackupNotProven, match=r"2 of .*public\.busy.*public\.quiet"):
        kind.prove(world, edited, copy, once.production)


def with_other_figures(taken: Archive) -> Archive:
    def change(held: dict[str, Any]) -> None:
        held["tables"]["public.quiet"]["rows"] = 1999
        held["tables"]["public.busy"]["hash"] = "1"

    manifest(change)(victim(taken, taken.directory))
    return archive.load(taken.directory)


def test_a_backup_is_put_back_beside_the_live_database_with_all_that_it_held(
    world, kind, setting, database, place, tmp_path
):
    name = world.databases.name_of(database)
    beside = world.databases.with_database(database, f"{name}_back")
    reader, owner = f"{name}_reader", f"{name}_owner"
    run(
        world,
        database,
        DATA
        + f"""
        CREATE ROLE {reader}; CREATE ROLE {owner};
        GRANT SELECT ON quiet TO {reader}; GRANT UPDATE (word) ON quiet TO {reader};
        GRANT USAGE ON SCHEMA "Other" TO {reader}; ALTER TABLE busy OWNER TO {owner};
        ALTER DEFAULT PRIVILEGES IN SCHEMA "Other" GRANT SELECT ON TABLES TO {reader};
        CREATE POLICY few ON quiet TO {reader} USING (n > 3); ALTER TABLE quiet ENABLE ROW LEVEL SECURITY;
        """,
    )
    with world.databases.session(database) as session:
        before = {name: session.query(question) for name, question in HELD.items()}
        assert all(before.values())
    try:
        taken = kind.take(world, database, tmp_path / "backup", {})
        run(world, setting.server, f"CREATE DATABASE {name}_back TEMPLATE template0")
        kind.put_back(world, taken, beside, place)
        with world.databases.session(beside) as session:
            assert {name: session.query(question) for name, question in HELD.items()} == before
            (number,) = session.query("INSERT INTO busy (n) VALUES (1) RETURNING id")
            # A copy of files takes those numbers for given out that were logged ahead.
            assert 3001 <= number["id"] <= 3033
    finally:
        run(world, setting.server, f"DROP DATABASE IF EXISTS {name}_back WITH (FORCE)")
        run(world, database, f"DROP OWNED BY {reader}, {owner}; DROP ROLE {reader}, {owner}")


def test_a_copy_is_proven_from_what_was_encrypted_and_kept_elsewhere(world, kind, production, taken, place, tmp_path):
    public, secret = a_key()
    bucket = world.stores.at(f"file://{tmp_path}/store", {}, timeout=20)
    before = lies_at(taken.directory)
    sealed = sealing.seal(world, taken, [public])
    sealing.upload(world, sealed, bucket, secret, 4)
    again = sealing.bring(world, sealed, sealing.in_store(bucket, "backup"), "", tmp_path / "again", secret, 4)
    assert lies_at(again.directory) == before
    assert kind.prove(world, again, kind.copy_into(world, again, place), production)["tables"]


def test_a_damaged_backup_is_not_proven(once, tmp_path):
    for name in (
        "cut in half",
        "a bit flipped in the middle",
        "a file lost",
        "a file more",
        "the manifest cut",
        "the manifest lost",
        "the content lost",
    ):
        PLAIN[name](victim(once.archive, tmp_path / "backup"))
        with pytest.raises(BackupNotProven) as caught:
            archive.load(tmp_path / "backup")
        assert str(tmp_path / "backup") in str(caught.value), name


def test_damage_is_found_although_the_manifest_was_made_to_agree_with_it(world, kind, once, place, tmp_path):
    for damage in (cut(LARGEST), gone(LARGEST)):
        agreeing(damage)(victim(once.archive, tmp_path / "backup"))
        edited = archive.load(tmp_path / "backup")
        assert edited.digest != once.archive.digest
        with pytest.raises(GoliveError):  # noqa: PT012 - which of the three finds it depends on the kind
            kind.verify(world, edited)
            kind.prove(world, edited, kind.copy_into(world, edited, place), once.production)


def test_a_backup_is_for_its_owner_alone(once):
    for path in [once.archive.directory, *once.archive.directory.rglob("*")]:
        assert path.stat().st_mode & 0o777 == (0o700 if path.is_dir() else 0o600), path


TAKE = """
import json, sys
from pathlib import Path
from tasks.context import world
from tasks.spec.kinds import kinds_in
from tasks import backups
kind, dsn, directory = sys.stdin.read().splitlines()
given = json.loads(kind)
kinds_in(backups)[given["kind"]].model_validate(given).take(world(), dsn, Path(directory), {})
"""


def programs_at(directory: Path) -> list[str]:
    """Return the processes that were told the directory of a backup, under its name while it is made."""
    partial, found = str(directory.with_name(f".partial-{directory.name}")).encode(), []
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended
            if partial in (entry / "cmdline").read_bytes():
                found.append(entry.name)
    return found


def test_a_backup_that_was_killed_half_way_leaves_nothing_that_looks_finished(world, kind, production, tmp_path):
    directory = tmp_path / "backup"
    with world.databases.session(production) as blocker, blocker.transaction():
        # Every kind reads the tables, and waits here for this one.
        blocker.execute("LOCK TABLE quiet IN ACCESS EXCLUSIVE MODE")
        process = subprocess.Popen([sys.executable, "-c", TAKE], cwd=ROOT, stdin=subprocess.PIPE)
        try:
            assert process.stdin is not None
            process.stdin.write(f"{kind.model_dump_json()}\n{production}\n{directory}\n".encode())
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
    # A release takes another one elsewhere; in one place the programs that were left would meet.
    wait_until(lambda: not programs_at(directory), 60)
    kind.take(world, production, directory, {})
    assert [path.name for path in tmp_path.iterdir()] == ["backup"]
    with world.databases.session(production) as looker:
        deadline = time.monotonic() + 30
        while looker.value("SELECT count(*) FROM pg_stat_replication"):
            assert time.monotonic() < deadline, "a program that was left behind still receives the log"
            time.sleep(0.05)


def test_a_backup_that_takes_too_long_is_given_up_and_leaves_nothing(world, kind, production, tmp_path):
    with pytest.raises(GoliveError):
        kind.model_copy(update={"timeout": 0.001}).take(world, production, tmp_path / "backup", {})
    assert list(tmp_path.iterdir()) == []
