"""A backup on its way: encrypted, copied to a store, read back and held against its manifest, brought home again."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, TypeVar, cast

from tasks.domain import archive
from tasks.domain.archive import MANIFEST, SEALED, Archive
from tasks.domain.errors import BackupNotProven, NotFound
from tasks.domain.ports import Bucket, World

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer as Buffer

T = TypeVar("T")
Source = Callable[[str], AbstractContextManager[BinaryIO]]
"""Opens a file of a backup as it lies somewhere, by its path in that backup."""

_CHUNK = 1024**2


def seal(world: World, taken: Archive, recipients: Sequence[str]) -> Archive:
    """Encrypt the files of a backup, each by itself, in place of the readable ones, and return it.

    Raises `BackupNotProven` if a file is not what the manifest says, which then stays as it was.
    """
    partial = taken.directory.with_name(f".partial-{taken.directory.name}")
    world.host.remove_tree(partial)
    archive.make_directories(partial, taken.manifest)
    sealed = {}
    for path, expected in taken.files.items():
        target = partial / f"{path}{SEALED}"
        with (taken.directory / path).open("rb") as source, target.open("xb") as into:
            reader, writer = _Hashed(source), _Hashed(into)
            world.cipher.seal(reader.stream, writer.stream, recipients)
        target.chmod(0o600)
        _require(expected, reader.digest, taken.directory / path)
        sealed[f"{path}{SEALED}"] = writer.digest
    about = {"by": "age", "recipients": list(recipients), "files": sealed}
    world.host.write(partial / MANIFEST, archive.as_text({**taken.manifest, "sealed": about}))
    world.host.remove_tree(taken.directory)
    partial.rename(taken.directory)
    return archive.load(taken.directory)


def on_disk(directory: Path) -> Source:
    """Return what opens the files of a backup on the disk."""
    return lambda path: (directory / path).open("rb")


def in_store(bucket: Bucket, name: str) -> Source:
    """Return what opens the files of a backup in a store."""
    return lambda path: bucket.open(f"{name}/{path}")


def read_back(world: World, taken: Archive, source: Source, where: str, identity: str, parallel: int) -> None:
    """Read every file as it lies somewhere, decrypt it, and hold it against the manifest, as it lies and in the clear.

    Raises `BackupNotProven` with the file that is missing, cut or changed, or cannot be decrypted.
    """

    def check(path: str) -> None:
        _transfer(world, taken, path, source, _Nowhere, where, identity)

    _in_parallel(check, taken.files, parallel)


def upload(world: World, taken: Archive, bucket: Bucket, identity: str, parallel: int) -> int:
    """Copy a backup to a store, each file read back and held against the manifest; return how many files were sent.

    The manifest comes last: what lies there without it is no backup. What an earlier try has copied is not sent again.
    """
    name = taken.directory.name
    there, source, where = bucket.sizes(name), in_store(bucket, name), f"{bucket.url}/{name}"
    bucket.remove(f"{name}/{MANIFEST}")

    def send(path: str) -> int:
        lying = taken.lies_as(path)
        file = taken.directory / lying
        sent = there.get(lying) != file.stat().st_size
        if sent:
            bucket.put(file, f"{name}/{lying}")
        _transfer(world, taken, path, source, _Nowhere, where, identity)
        return int(sent)

    sent = sum(_in_parallel(send, taken.files, parallel))
    bucket.put(taken.directory / MANIFEST, f"{name}/{MANIFEST}")
    if manifest_in(source, where).digest != taken.digest:
        raise BackupNotProven("is not what was sent", where=f"{where}/{MANIFEST}", do="look at the store")
    return sent


def manifest_in(source: Source, where: str) -> Archive:
    """Return a backup that lies elsewhere by its manifest, whose files are not looked at.

    Raises `BackupNotProven` if there is none, or it cannot be read.
    """
    try:
        with source(MANIFEST) as file:
            text = file.read()
    except (NotFound, OSError) as error:
        raise BackupNotProven(
            "there is no manifest", expected="a finished backup", where=where, do="use another backup"
        ) from error
    return archive.parsed(text, Path(where), f"{where}/{MANIFEST}")


def bring(
    world: World, found: Archive, source: Source, where: str, into: Path, identity: str, parallel: int
) -> Archive:
    """Copy a backup's files from where they lie into a new directory, readable, and return it from there."""
    archive.make_directories(into, found.manifest)

    def fetch(path: str) -> None:
        def create() -> BinaryIO:
            (into / path).touch(mode=0o600)
            return (into / path).open("wb")

        _transfer(world, found, path, source, create, where, identity)

    _in_parallel(fetch, found.files, parallel)
    world.host.write(into / MANIFEST, archive.as_text(archive.in_clear(found.manifest)))
    return archive.load(into)


def _transfer(
    world: World,
    taken: Archive,
    path: str,
    source: Source,
    create: Callable[[], BinaryIO],
    where: str,
    identity: str,
) -> None:
    """Copy one file in chunks, decrypted if need be; raises `BackupNotProven` unless it is what the manifest says."""
    lying = taken.lies_as(path)
    at = f"{where}/{lying}"
    try:
        with source(lying) as file, create() as into:
            reader, writer = _Hashed(file), _Hashed(into)
            try:
                if taken.is_sealed:
                    world.cipher.unseal(reader.stream, writer.stream, identity)
                while chunk := reader.read(_CHUNK):
                    if not taken.is_sealed:
                        writer.write(chunk)
            except BackupNotProven as error:
                error.where = at
                raise
    except (NotFound, FileNotFoundError) as error:
        raise BackupNotProven("is missing", where=at, do="use another backup") from error
    _require(taken.lying[lying], reader.digest, at)
    _require(taken.files[path], writer.digest, at)


class _Hashed:
    """A stream that is hashed while it is read or written."""

    def __init__(self, of: BinaryIO) -> None:
        self._of, self._hash = of, hashlib.sha256()

    @property
    def stream(self) -> BinaryIO:
        """Itself, as what takes a stream asks for it."""
        return cast("BinaryIO", self)

    @property
    def digest(self) -> str:
        """The SHA-256 of all that went through."""
        return self._hash.hexdigest()

    def read(self, size: int = -1) -> bytes:
        """Read, and hash what was read."""
        chunk = self._of.read(size)
        self._hash.update(chunk)
        return chunk

    def write(self, data: bytes) -> int:
        """Write, and hash what was written."""
        self._hash.update(data)
        return self._of.write(data)


class _Nowhere(io.BytesIO):
    """A stream that keeps nothing."""

    def write(self, data: Buffer) -> int:
        """Drop what is written."""
        return memoryview(data).nbytes


def _require(expected: str, digest: str, where: Path | str) -> None:
    if digest != expected:
        raise BackupNotProven(
            f"is not what was backed up: SHA-256 {digest[:16]}…",
            expected=f"{expected[:16]}… as in the manifest",
            where=str(where),
            do="use another backup; look for the trouble of the disk or the store",
        )


def _in_parallel(work: Callable[[str], T], paths: Iterable[str], parallel: int) -> list[T]:
    """Do work for each path, so many at a time; the first error ends it, and what has not begun is left."""
    with ThreadPoolExecutor(parallel, thread_name_prefix="backup files") as pool:
        waiting = [pool.submit(work, path) for path in paths]
        try:
            for one in wait(waiting, return_when=FIRST_EXCEPTION).done:
                one.result()
            return [one.result() for one in waiting]
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
