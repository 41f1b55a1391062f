"""Backups that were damaged, edited or exchanged: none of them is ever reported as proven.

Each case goes through the guards in the order in which a release meets them: the sums of the files, the sum on record,
the check of the kind's own tool, the making of a copy, the comparison of its contents. Where somebody has made the sums
agree with the damage, the sum on record tells, and the later guards are tried as if there were none.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tasks.adapters.clock import SystemClock
from tasks.adapters.postgres import Postgres
from tasks.backups import Backup
from tasks.backups.dump import Dump
from tasks.backups.physical import Physical
from tasks.domain import archive
from tasks.domain.archive import Archive
from tasks.domain.errors import BackupNotProven, GoliveError
from tasks.domain.fingerprint import fingerprint
from tasks.domain.ports import RunningServer, World
from tests.damages import (
    CONTENTS,
    COPY,
    EDITED,
    EDITED_OF,
    IN_THE_COPY,
    LARGEST,
    OF_THE_PARENT,
    PLAIN,
    PLAIN_OF,
    RECORD,
    SUMS,
    TOOL,
    Damage,
    Victim,
    closed,
)
from tests.places import OwnPlace, PlaceBeside, run
from tests.smallest import linked, smallest_server

OLDER = """
CREATE TABLE item (n int PRIMARY KEY, word text);
CREATE TABLE other (n int PRIMARY KEY, word text);
INSERT INTO item SELECT n, md5(n::text) FROM generate_series(1, 1000) n;
INSERT INTO other SELECT n, md5((-n)::text) FROM generate_series(1, 2000) n;
CREATE SEQUENCE number;
SELECT nextval('number'), lo_from_bytea(4711, 'a large object');
CHECKPOINT;
"""
NEWER = """
INSERT INTO item SELECT n, md5(n::text) FROM generate_series(1001, 2000) n;
CREATE TABLE third AS SELECT 3 AS n;
CHECKPOINT;
"""


CLOSED = "a file that may not be read"
KINDS = {
    "dump": Dump(jobs=1, timeout=60.0),
    "physical": Physical(kind="physical", timeout=60.0),
    "incremental": Physical(kind="physical", timeout=60.0, full_every=3600.0),
}


class Hasty(SystemClock):
    """A clock that nobody waits for: what a table held is not going to change in these tests."""

    def sleep(self, seconds: float) -> None:
        pass


@dataclass
class Setting:
    """One kind of backup: two backups of a database, and where copies are made."""

    world: World
    kind: Backup
    place: OwnPlace | PlaceBeside
    production: str
    home: Path
    older: Archive
    taken: Archive
    files: dict[str, Path]
    older_files: dict[str, Path]
    copy: str = ""
    """A copy of the untouched backup, as long as none of another is made."""


def files_of(kind: str, world: World, production: str, taken: Archive) -> dict[str, Path]:
    """Return which file of a backup holds what."""
    biggest = max((path for path in taken.content.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)
    found = {LARGEST: biggest.relative_to(taken.content)}
    if kind == "physical":
        found["the log"] = next(taken.content.glob("pg_wal/0*0*")).relative_to(taken.content)
        names = {"item": "item", "other": "other", "large object": "pg_largeobject"}
        with world.databases.session(production) as session:
            paths = {
                one: Path(session.value("SELECT pg_relation_filepath(%s::regclass)", (of,)))
                for one, of in names.items()
            }
        changed = {one: path.with_name(f"INCREMENTAL.{path.name}") for one, path in paths.items()}
        return found | paths | {one: path for one, path in changed.items() if (taken.content / path).exists()}
    listed = world.pg_tools.archive_list(taken.content, server_version=taken.server_version)
    for line in listed.splitlines():
        if "TABLE DATA public " in line:
            number, name = line.split(";")[0], line.split()[6]
            found[name] = next(taken.content.glob(f"{number}.dat*")).relative_to(taken.content)
    found["large object"] = next(taken.content.glob("blob_4711.dat*")).relative_to(taken.content)
    found["blobs"] = next(taken.content.glob("blobs*.toc")).relative_to(taken.content)
    return found


def at_rest(world: World, production: str) -> None:
    """Let nothing be left to be written of rows that were committed, not even the hints that the next reader leaves.

    Where pages have checksums, a hint puts the whole page into the log: if that happens during a physical backup, its
    copy is healed from the log, and damage to that page is rightly none.
    """
    for statement in ("CHECKPOINT", "VACUUM", "CHECKPOINT"):  # a hint waits until the log of its commit is on disk
        run(world, production, statement)
    with world.databases.session(production) as session:
        fingerprint(session)


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    directory = Path(tempfile.mkdtemp(prefix="golive-test-"))
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="module")
def small(home: Path) -> Iterator[RunningServer]:
    """A server of which a copy has as few files as may be: each case reads all of them."""
    with smallest_server(home / "server", summarize_wal="on") as server:
        for statement in ("ALTER DATABASE template0 IS_TEMPLATE false", "DROP DATABASE template0"):
            with Postgres().session(server.dsn()) as session:
                session.execute(statement)
        yield server


@contextmanager
def setting(name: str, world: World, server: RunningServer, home: Path) -> Iterator[Setting]:
    """Take two backups of a database, of which the first is the older one."""
    kind, world, home = KINDS[name], replace(world, clock=Hasty()), home / name
    home.mkdir()
    if kind.kind == "physical":
        production = server.dsn()
        place: OwnPlace | PlaceBeside = OwnPlace(world, home / "scratch")
        run(world, production, "DROP TABLE IF EXISTS item, other, third; DROP SEQUENCE IF EXISTS number")
        run(world, production, "SELECT lo_unlink(oid) FROM pg_largeobject_metadata")
    else:
        production = Postgres().with_database(server.dsn(), f"damage_{name}")
        place = PlaceBeside(world, production)
        run(world, server.dsn(), f"CREATE DATABASE damage_{name}")
    try:
        run(world, production, OLDER)
        at_rest(world, production)
        before = kind.take(world, production, home / "older", {"release": home.name})
        run(world, production, NEWER)
        at_rest(world, production)
        taken = kind.take(world, production, home / "backup", {"release": home.name}, [before.directory])
        assert bool(kind.needs(taken)) is (name == "incremental")
        files, older_files = (files_of(kind.kind, world, production, one) for one in (taken, before))
        yield Setting(world, kind, place, production, home, before, taken, files, older_files)
    finally:
        place.remove()
        if kind.kind != "physical":
            run(world, server.dsn(), f"DROP DATABASE damage_{name} WITH (FORCE)")


@contextmanager
def ordinary_user(directory: Path) -> Iterator[None]:
    """Own a directory and be an ordinary user, who is asked for permissions, although the tests may run as root."""
    if os.geteuid() != 0:
        yield
        return
    for path in (directory, *directory.rglob("*")):
        os.chown(path, 65534, 65534, follow_symlinks=False)
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def guards(at: Setting, directory: Path) -> Iterator[tuple[str, Callable[[], object]]]:
    """Give what a release does with a backup, in order; the later ones trust what the earlier ones may have refused.

    As long as nothing but what a copy is compared with differs, one copy serves every case.
    """
    loaded: list[Archive] = []
    yield SUMS, lambda: loaded.append(archive.load(directory))
    found = loaded[0]
    yield RECORD, lambda: archive.require_recorded(found, at.taken.digest, str(directory))
    yield TOOL, lambda: at.kind.verify(at.world, found)
    makes_the_same = what_a_copy_comes_from(found) == what_a_copy_comes_from(at.taken)
    copies = [at.copy] if makes_the_same and at.copy else []
    if not copies:
        at.copy = ""
        yield COPY, lambda: copies.append(at.kind.copy_into(at.world, found, at.place))
    if copies:
        at.copy = copies[0] if makes_the_same else ""
        yield CONTENTS, lambda: at.kind.prove(at.world, found, copies[0], at.production)


def what_a_copy_comes_from(of: Archive) -> tuple[object, ...]:
    """Return which files a copy is made from, and what of the manifest."""
    told = {key: value for key, value in of.manifest.items() if key not in {"files", "tables", "sequences"}}
    return told, {path.relative_to(of.directory): path.lstat().st_ino for path in of.content.rglob("*")}


def caught_by(at: Setting, directory: Path) -> tuple[list[str], list[str]]:
    """Return which guards catch what is wrong, up to the first besides the sum on record, and what they say."""
    by, said = [], []
    for name, guard in guards(at, directory):
        try:
            guard()
        except GoliveError as error:
            by.append(name)
            said.append(str(error))
            if name != RECORD:
                break
    return by, said


def judge(at: Setting, damage: Damage) -> tuple[list[str], list[str]]:
    """Damage a copy of the backup, beside one of what it builds upon, and return what catches it."""
    directory, parent = at.home / "case/backup", at.home / "case/older"
    linked(at.taken.directory, directory)
    if at.kind.needs(at.taken):
        linked(at.older.directory, parent)
    damage(Victim(directory, at.kind.kind, at.older.directory, at.files, at.older_files, parent))
    return caught_by(at, directory)


def judge_closed(at: Setting) -> tuple[list[str], list[str]]:
    """Close a file to an ordinary user, in a copy of its own."""
    directory = at.home / "closed"
    shutil.copytree(at.taken.directory, directory)
    closed(LARGEST)(Victim(directory, at.kind.kind, at.older.directory, at.files, at.older_files))
    with ordinary_user(directory):
        return caught_by(at, directory)


def judge_copies(at: Setting) -> Iterator[tuple[str, list[str], list[str]]]:
    """Damage the copy that was made from a good backup, time and again, and give what catches it."""
    for name, (damage, mended) in IN_THE_COPY.items():
        run(at.world, at.copy, damage)
        with pytest.raises(BackupNotProven) as caught:
            at.kind.prove(at.world, at.taken, at.copy, at.production)
        yield name, [CONTENTS], [str(caught.value)]
        run(at.world, at.copy, mended)
    at.kind.prove(at.world, at.taken, at.copy, at.production)


def cases(name: str) -> dict[str, tuple[Damage, list[str]]]:
    """Return what is done to the files of a kind's backup, and what catches it; first what needs no other copy."""
    # What all whole copies show need not be shown again by one that builds upon another.
    plain, edited = ({}, {}) if name == "incremental" else (PLAIN, EDITED)
    found = {one: (damage, [SUMS]) for one, damage in (plain | PLAIN_OF[name]).items()}
    edited = edited | EDITED_OF[name]
    for one in sorted(edited, key=lambda one: "the manifest" not in one):
        damage, by = edited[one]
        found[one] = (damage, [RECORD] if by == RECORD else [RECORD, by])
    if name == "incremental":
        found |= {f"{one}, in what it builds upon": (damage, [TOOL]) for one, damage in OF_THE_PARENT.items()}
    return found


@pytest.mark.parametrize("name", KINDS)
def test_whatever_is_done_to_a_backup_it_is_not_proven(name, world, home, request):
    server = request.getfixturevalue("pg_server" if name == "dump" else "small")
    expected = {one: by for one, (_damage, by) in cases(name).items()}
    with setting(name, world, server, home) as at:
        by, said = caught_by(at, at.taken.directory)
        assert not by, f"an untouched backup is not proven: {said}"
        found = []
        if name == "dump":
            found += [(CLOSED, *judge_closed(at))]
            expected[CLOSED] = [SUMS]
        if name != "incremental":
            found += judge_copies(at)
            expected |= {one: [CONTENTS] for one in IN_THE_COPY}
        found += [(one, *judge(at, damage)) for one, (damage, _by) in cases(name).items()]
    matrix = [f"{one:48} {' and '.join(by)}\n" for one, by, _said in found]
    sys.stdout.write(f"\n{name}: {len(found)} cases, and what catches each\n{''.join(matrix)}")
    assert {one: by for one, by, _said in found} == expected
    for one, by, said in found:
        assert by[0] in {COPY, TOOL} or "\N{RIGHTWARDS ARROW}" in said[0], (one, said)
