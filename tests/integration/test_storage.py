"""Backups in a store: what comes back is byte for byte what was sent, or it is not proven, whatever happened to it."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tasks.adapters.storage import FsspecStores
from tasks.domain import sealing
from tasks.domain.archive import MANIFEST, Archive
from tasks.domain.errors import (
    BackupNotProven,
    GoliveError,
    NotFound,
    ToolMissing,
    Unreachable,
    UserError,
)
from tasks.domain.ports import Bucket, World
from tests.stores import LocalS3, a_backup, a_key, lies_at, local_s3

ROOT = Path(__file__).parents[2]
PUBLIC, SECRET = a_key()
NAME = "20260101T000000000-shop-1"


@pytest.fixture(scope="module")
def s3() -> Iterator[LocalS3]:
    with local_s3() as store:
        yield store


@pytest.fixture(params=["memory", "file", "s3"])
def bucket(request: pytest.FixtureRequest, world: World, tmp_path: Path) -> Bucket:
    """An empty place in each sort of store."""
    tail = secrets.token_hex(4)
    if request.param == "s3":
        store: LocalS3 = request.getfixturevalue("s3")
        return world.stores.at(f"s3://{store.bucket}/{tail}/shop", store.options, timeout=20)
    url = f"memory://{tail}/shop" if request.param == "memory" else f"file://{tmp_path}/store/shop"
    return world.stores.at(url, {}, timeout=20)


@pytest.fixture
def backup(world: World, tmp_path: Path) -> Archive:
    return a_backup(world, tmp_path / "backups" / NAME)


def brought(world: World, bucket: Bucket, into: Path, identity: str = "") -> Archive:
    source = sealing.in_store(bucket, NAME)
    found = sealing.manifest_in(source, f"{bucket.url}/{NAME}")
    return sealing.bring(world, found, source, f"{bucket.url}/{NAME}", into, identity, 4)


@pytest.mark.parametrize("sealed", [False, True], ids=["readable", "encrypted"])
def test_what_comes_back_from_a_store_is_what_was_sent(sealed, world, bucket, backup, tmp_path):
    before, digest = lies_at(backup.directory), backup.digest
    if sealed:
        backup = sealing.seal(world, backup, [PUBLIC, a_key()[0]])
        assert backup.digest == digest, "what is on record as proven is the manifest of the readable files"
        assert b"contents" not in b"".join(data or b"" for data in lies_at(backup.directory / "dump").values())
        assert [path.name for path in backup.directory.parent.iterdir()] == [NAME]
        with pytest.raises(BackupNotProven, match="is encrypted"):
            assert backup.content
    assert sealing.upload(world, backup, bucket, SECRET, 3) == 3
    assert sealing.upload(world, backup, bucket, SECRET, 3) == 0, "what is there already is not sent again"
    assert bucket.names() == [NAME]
    assert set(bucket.sizes(NAME)) == {MANIFEST, *backup.lying}
    again = brought(world, bucket, tmp_path / "again", SECRET)
    assert lies_at(again.directory) == before
    assert (again.digest, again.is_sealed) == (digest, False)
    for path in [again.directory, *again.directory.rglob("*")]:
        assert path.stat().st_mode & 0o777 == (0o700 if path.is_dir() else 0o600), path
    bucket.remove(NAME)
    bucket.remove(NAME)
    assert (bucket.names(), bucket.sizes(NAME)) == ([], {})


def _changed(data: bytes) -> bytes:
    return data[:-9] + bytes([data[-9] ^ 1]) + data[-8:]


HARMS: list[tuple[str, Callable[[bytes], bytes] | None, str]] = [
    ("dump/deep/1.dat.gz", _changed, "1.dat.gz"),
    ("dump/deep/1.dat.gz", lambda data: data[:-1], "1.dat.gz"),
    ("dump/deep/1.dat.gz", lambda data: data[:65536], "1.dat.gz"),
    ("dump/deep/1.dat.gz", lambda data: data + b"x", "1.dat.gz"),
    ("dump/deep/1.dat.gz", lambda _data: b"", "1.dat.gz"),
    ("dump/deep/1.dat.gz", None, "is missing"),
    ("dump/toc.dat", lambda data: bytes([data[0] ^ 1]) + data[1:], "toc.dat"),
    (MANIFEST, None, "there is no manifest"),
    (MANIFEST, lambda data: data[: len(data) // 2], "its manifest cannot be read"),
    (MANIFEST, lambda data: data.replace(b"dump/toc.dat", b"../../toc.dat"), "leads out of it"),
]


@pytest.mark.parametrize("sealed", [False, True], ids=["readable", "encrypted"])
def test_what_was_harmed_in_the_store_is_not_proven(sealed, world, s3, backup, tmp_path):
    if sealed:
        backup = sealing.seal(world, backup, [PUBLIC])
    at = secrets.token_hex(4)
    bucket = world.stores.at(f"s3://{s3.bucket}/{at}", s3.options, timeout=20)
    sealing.upload(world, backup, bucket, SECRET, 3)
    for number, (path, harm, said) in enumerate(HARMS):
        lying = path if path == MANIFEST else backup.lies_as(path)
        key = f"{at}/{NAME}/{lying}"
        before = s3.direct.cat_file(f"{s3.bucket}/{key}")
        if harm is None:
            bucket.remove(f"{NAME}/{lying}")
        else:
            s3.damage(key, harm(before))
        with pytest.raises(BackupNotProven) as caught:
            brought(world, bucket, tmp_path / f"again {number}", SECRET)
        assert said in str(caught.value)
        assert f"s3://{s3.bucket}/{at}/{NAME}" in str(caught.value)
        assert "→" in str(caught.value)
        assert SECRET.splitlines()[-1] not in str(caught.value)
        s3.direct.pipe_file(f"{s3.bucket}/{key}", before)
    brought(world, bucket, tmp_path / "again", SECRET)


@dataclass
class Careless:
    """A store that changes what it is given, or goes away, at one file."""

    bucket: Bucket
    at: str
    does: Callable[[], None]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.bucket, name)

    def put(self, source: Path, path: str) -> None:
        if path.endswith(self.at):
            self.does()
            source = source.with_name(f".{source.name}")
            source.write_bytes(b"something else")
        self.bucket.put(source, path)


@pytest.mark.parametrize("at", ["1.dat.gz", "1.dat.gz.age", MANIFEST])
def test_a_store_that_keeps_something_else_is_found_out_by_reading_back(at, world, bucket, backup):
    if at.endswith(".age"):
        backup = sealing.seal(world, backup, [PUBLIC])
    with pytest.raises(BackupNotProven):
        sealing.upload(world, backup, Careless(bucket, at, lambda: None), SECRET, 3)
    if at != MANIFEST:
        assert MANIFEST not in bucket.sizes(NAME), "what lies there is no backup"


def test_another_identity_reads_nothing_and_is_told_before_anything_is_made(world, backup, tmp_path):
    public, secret = a_key()
    sealed = sealing.seal(world, backup, [PUBLIC])
    source, where = sealing.on_disk(sealed.directory), str(sealed.directory)
    with pytest.raises(BackupNotProven, match="No matching keys found") as caught:
        sealing.read_back(world, sealed, source, where, secret, 2)
    assert secret.splitlines()[-1] not in repr(caught.value)
    both = SECRET + secret
    sealing.read_back(world, sealed, source, where, both, 2)
    world.cipher.require_pair([PUBLIC], both)
    with pytest.raises(UserError, match="belongs to none of the recipients"):
        world.cipher.require_pair([PUBLIC], secret)
    with pytest.raises(UserError, match="is no public key"):
        world.cipher.require_pair([PUBLIC[:-1] + ("p" if PUBLIC.endswith("q") else "q")], SECRET)
    for nothing in ("", "# a comment", "not a key"):
        with pytest.raises(UserError, match="holds no secret key") as none:
            world.cipher.require_pair([PUBLIC], nothing)
        assert "not a key" not in str(none.value)
    assert public


def test_what_was_changed_between_its_proof_and_its_encryption_is_not_kept(world, backup):
    (backup.content / "toc.dat").write_bytes(b"other")
    with pytest.raises(BackupNotProven, match=r"is not what was backed up"):
        sealing.seal(world, backup, [PUBLIC])
    assert (backup.content / "toc.dat").exists()


def test_a_store_that_goes_away_in_the_middle_is_worth_another_try(world, backup, tmp_path):
    with local_s3() as away:
        bucket = world.stores.at(f"s3://{away.bucket}/shop", away.impatient, timeout=20)
        gone = Careless(bucket, "1.dat.gz", away.server.stop)
        with pytest.raises(Unreachable) as caught:
            sealing.upload(world, backup, gone, "", 1)
    assert caught.value.retryable
    assert "the-secret-of-the-store" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "options", "error", "said"),
    [
        ("gs://bucket/x", {}, ToolMissing, "gcsfs is not installed"),
        ("sftp://host/x", {}, ToolMissing, "paramiko is not installed"),
        ("nosuch://host/x", {}, UserError, "nosuch"),
        ("file:///proc/none", {}, GoliveError, "/proc/none"),
    ],
)
def test_a_store_that_cannot_be_used_is_told_with_what_to_do(url, options, error, said, world):
    with pytest.raises(error, match=said) as caught:
        world.stores.at(url, options, timeout=20).require_writable()
    if error is not GoliveError:
        assert caught.value.do


def test_a_bucket_that_is_not_there_or_not_ones_own_is_told_before_anything_is_backed_up(world, s3):
    with pytest.raises(NotFound, match="bucket does not exist"):
        world.stores.at("s3://no-such-bucket/shop", s3.options, timeout=20).require_writable()
    world.stores.at(f"s3://{s3.bucket}/writable", s3.options, timeout=20).require_writable()
    assert not [name for name in s3.names() if name.startswith("writable")]


def test_a_store_that_falls_silent_is_given_up(world):
    slow = FsspecStores().at("memory://slow", {}, timeout=0.2)
    slow._fs = _Silent()
    with pytest.raises(GoliveError, match=r"silent for 0\.2 s") as caught:
        slow.names()
    assert caught.value.retryable


class _Silent:
    def invalidate_cache(self) -> None:
        pass

    def ls(self, *_given: Any, **_more: Any) -> None:
        time.sleep(2)


UPLOAD = """
import sys
from pathlib import Path
from tasks.context import world
from tasks.domain import archive, sealing
import json
url, options, directory = json.load(sys.stdin)
directory = Path(directory)
taken = archive.parsed((directory / "manifest.json").read_bytes(), directory)
sealing.upload(world(), taken, world().stores.at(url, options, timeout=60), "", 1)
"""


@contextmanager
def killed_in_the_middle(s3: LocalS3, url: str, backup: Archive, path: str) -> Iterator[None]:
    """Kill a process that sends a backup while one of its files is sent in part."""
    import json

    victim = backup.directory / path
    victim.rename(victim.with_suffix(".whole"))
    os.mkfifo(victim)
    child = subprocess.Popen([sys.executable, "-c", UPLOAD], cwd=ROOT, stdin=subprocess.PIPE)
    try:
        assert child.stdin is not None
        child.stdin.write(json.dumps([url, s3.options, str(backup.directory)]).encode())
        child.stdin.close()
        with victim.open("wb", buffering=0) as pipe:
            for _ in range(20):
                pipe.write(b"x" * 1024**2)
            deadline = time.monotonic() + 30
            while not s3.direct.list_multipart_uploads(s3.bucket):
                assert child.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.05)
            child.send_signal(signal.SIGKILL)
            child.wait(10)
    finally:
        child.kill()
        child.wait(10)
    victim.unlink()
    victim.with_suffix(".whole").rename(victim)
    yield


def test_an_upload_that_was_killed_is_no_backup_and_leaves_nothing_that_cannot_be_swept(world, s3, tmp_path):
    backup = a_backup(world, tmp_path / NAME, {"a": b"sent", "z": b"sent in part"})
    at = secrets.token_hex(4)
    url = f"s3://{s3.bucket}/{at}"
    bucket = world.stores.at(url, s3.options, timeout=20)
    with killed_in_the_middle(s3, url, backup, "dump/z"):
        assert set(bucket.sizes(NAME)) == {"dump/a"}
        with pytest.raises(BackupNotProven, match="there is no manifest"):
            brought(world, bucket, tmp_path / "again")
        assert bucket.names() == [NAME]
        bucket.remove(f"{NAME}/dump/a")
        assert bucket.names() == [NAME], "an upload that never ended is seen too"
        bucket.remove(NAME)
        assert bucket.names() == []
        assert s3.direct.list_multipart_uploads(s3.bucket) == []
    assert sealing.upload(world, backup, bucket, "", 2) == 2
    brought(world, bucket, tmp_path / "again")


MEMORY = """
import os, resource, sys
from pathlib import Path
from tasks.context import world
from tasks.domain import archive, sealing
from tests.stores import a_key
public, secret = a_key()


def peak(size):
    def save(into):
        into.mkdir()
        (into / "table").touch()
        os.truncate(into / "table", size)
        return {"tables": {}, "server_version": 160000, "tools": {}}

    directory = Path(sys.argv[1]) / str(size)
    bucket = world().stores.at(f"file://{directory}/store", {}, timeout=60)
    sealed = sealing.seal(world(), archive.take(world(), directory / "backup", "dump", save, {}), [public])
    sealing.upload(world(), sealed, bucket, secret, 1)
    sealing.bring(world(), sealed, sealing.in_store(bucket, "backup"), "", directory / "again", secret, 1)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


print(peak(20_000_000), peak(120_000_000))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="memory is counted otherwise there")
def test_memory_does_not_grow_with_the_size_of_a_file(tmp_path):
    child = subprocess.run(
        [sys.executable, "-c", MEMORY, str(tmp_path)], cwd=ROOT, check=True, capture_output=True, text=True
    )
    small, large = map(int, child.stdout.split())
    assert large - small < 50_000
