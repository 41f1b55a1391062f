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
from contextlib import contextmanager, nullcontext
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
    PLAIN,
    PLAIN_OF,
    RECORD,
    SUMS,
    TOOL,
    Damage,
    Victim,
)
from tests.places import OwnPlace, PlaceBeside, run

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


KINDS = [Dump(jobs=1, timeout=60.0), Physical(kind="physical", timeout=60.0)]


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


def files_of(kind: str, world: World, production: str, taken: Archive) -> dict[str, Path]:
    """Return which file of a backup holds what."""
    biggest = max((path for path in taken.content.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)
    found = {LARGEST: biggest.relative_to(taken.content)}
    if kind == "physical":
        found["the log"] = next(taken.content.glob("pg_wal/0*0*")).relative_to(taken.content)
        names = {"item": "item", "other": "other", "large object": "pg_largeobject"}
        with world.databases.session(production) as session:
            paths = {
                one: session.value("SELECT pg_relation_filepath(%s::regclass)", (of,)) for one, of in names.items()
            }
        return found | {one: Path(path) for one, path in paths.items()}
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


@contextmanager
def setting(kind: Backup, world: World, server: RunningServer) -> Iterator[Setting]:
    """Take two backups of a database, of which the first is the older one."""
    home = Path(tempfile.mkdtemp(prefix="golive-test-"))
    home.chmod(0o755)
    name = f"damage_{home.name[-8:].lower()}"
    production = Postgres().with_database(server.dsn(), f"damage_{kind.kind}")
    world = replace(world, clock=Hasty())
    place = OwnPlace(world, home / "scratch") if kind.kind == "physical" else PlaceBeside(world, production)
    run(world, server.dsn(), f"CREATE DATABASE damage_{kind.kind}")
    try:
        run(world, production, OLDER)
        at_rest(world, production)
        before = kind.take(world, production, home / "older", {"release": name})
        run(world, production, NEWER)
        at_rest(world, production)
        taken = kind.take(world, production, home / "backup", {"release": name})
        both = (files_of(kind.kind, world, production, one) for one in (taken, before))
        yield Setting(world, kind, place, production, home, before, taken, *both)
    finally:
        place.remove()
        run(world, server.dsn(), f"DROP DATABASE damage_{kind.kind} WITH (FORCE)")
        shutil.rmtree(home, ignore_errors=True)


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
    """Give what a release does with a backup, in order; the later ones trust what the earlier ones may have refused."""
    yield SUMS, lambda: archive.load(directory)
    yield RECORD, lambda: archive.load(directory, digest=at.taken.digest)
    found = archive.load(directory)
    yield TOOL, lambda: at.kind.verify(at.world, found)
    copies: list[str] = []
    yield COPY, lambda: copies.append(at.kind.copy_into(at.world, found, at.place))
    if copies:
        yield CONTENTS, lambda: at.kind.prove(at.world, found, copies[0], at.production)


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


def judge(at: Setting, name: str, damage: Damage) -> tuple[list[str], list[str]]:
    """Damage a copy of the backup, and return what catches it."""
    directory, closed = at.home / "case", name == "a file that may not be read"
    # Links, for speed: damage makes files anew.
    shutil.copytree(at.taken.directory, directory, copy_function=shutil.copy2 if closed else os.link)
    try:
        damage(Victim(directory, at.kind.kind, at.older.directory, at.files, at.older_files))
        with ordinary_user(directory) if closed else nullcontext():
            return caught_by(at, directory)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def judge_copies(at: Setting) -> Iterator[tuple[str, list[str], list[str]]]:
    """Damage a copy that was made from a good backup, time and again, and give what catches it."""
    copy = at.kind.copy_into(at.world, at.taken, at.place)
    for name, (damage, mended) in IN_THE_COPY.items():
        run(at.world, copy, damage)
        with pytest.raises(BackupNotProven) as caught:
            at.kind.prove(at.world, at.taken, copy, at.production)
        yield name, [CONTENTS], [str(caught.value)]
        run(at.world, copy, mended)
    at.kind.prove(at.world, at.taken, copy, at.production)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.kind)
def test_whatever_is_done_to_a_backup_it_is_not_proven(kind, world, pg_server):
    with setting(kind, world, pg_server) as at:
        by, said = caught_by(at, at.taken.directory)
        assert not by, f"an untouched backup is not proven: {said}"
        plain, edited = PLAIN | PLAIN_OF[kind.kind], EDITED | EDITED_OF[kind.kind]
        expected = {name: [SUMS] for name in plain}
        expected |= {name: [RECORD] if by == RECORD else [RECORD, by] for name, (_damage, by) in edited.items()}
        damages = plain | {name: damage for name, (damage, _by) in edited.items()}
        found = [(name, *judge(at, name, damage)) for name, damage in damages.items()]
        found += judge_copies(at)
    expected |= {name: [CONTENTS] for name in IN_THE_COPY}
    matrix = [f"{name:48} {' and '.join(by)}\n" for name, by, _said in found]
    sys.stdout.write(f"\n{kind.kind}: {len(found)} cases, and what catches each\n{''.join(matrix)}")
    assert {name: by for name, by, _said in found} == expected
    for name, by, said in found:
        assert by[0] in {COPY, TOOL} or "\N{RIGHTWARDS ARROW}" in said[0], (name, said)
