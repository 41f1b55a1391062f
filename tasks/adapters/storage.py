"""Places for files by their URL, through fsspec: S3 and what speaks like it, SFTP, a mounted directory, and others."""

from __future__ import annotations

import errno
import io
import json
import posixpath
import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from functools import partial
from math import ceil
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from fsspec.core import url_to_fs
from fsspec.spec import AbstractBufferedFile

from tasks.adapters.secrets import mask_values
from tasks.domain.errors import (
    AccessDenied,
    GoliveError,
    NotFound,
    OutsideError,
    ServerTrouble,
    TimedOut,
    ToolMissing,
    Unreachable,
    UserError,
)

T = TypeVar("T")

_CHUNK = 8 * 1024**2
_MOST_PARTS = 9_000
"""S3 takes 10,000 parts of a file."""
_PASSING = frozenset({errno.EIO, errno.EBUSY, errno.EAGAIN})
_CONNECTION = frozenset(
    {"ConnectionError", "HTTPClientError", "ClientConnectionError", "ClientPayloadError", "SSHException", "EOFError"}
)
_CREDENTIALS = frozenset({"NoCredentialsError", "PartialCredentialsError", "AuthenticationException"})
"""Errors of the packages beneath fsspec, known by name because which of them are installed differs."""


class FsspecStores:
    """Opens places for files by URLs that fsspec knows, each once: making an S3 client takes half a second."""

    def __init__(self) -> None:
        self._open: dict[str, FsspecBucket] = {}

    def at(self, url: str, options: Mapping[str, Any], *, timeout: float) -> FsspecBucket:
        """Return the place at a URL; it is given up when it is silent for ``timeout`` seconds.

        Raises `ToolMissing` with the package that is needed, and `UserError` for a URL or option it does not know.
        """
        key = json.dumps([url, options, timeout], sort_keys=True, default=str)
        if key not in self._open:
            self._open[key] = FsspecBucket(url.rstrip("/"), options, timeout)
        return self._open[key]


class FsspecBucket:
    """A place for files that fsspec reaches, safe to be used by several threads."""

    def __init__(self, url: str, options: Mapping[str, Any], timeout: float) -> None:
        self.url = url
        self._secrets, self._timeout = [*_texts(options)], timeout
        # Only the asynchronous file systems of fsspec may be used by several threads at a time.
        self._alone: AbstractContextManager[Any] = nullcontext()
        try:
            self._fs, self._root = self._within(lambda: url_to_fs(url, skip_instance_cache=True, **options))
        except ImportError as error:
            package = getattr(error.__cause__, "name", None) or error.name or url.partition(":")[0]
            raise ToolMissing(
                f"the Python package {package} is not installed", where=url, do=f"pip install {package}"
            ) from error
        except (TypeError, ValueError) as error:
            raise UserError(self._shown(error), where=url, do="correct backup.storage") from error
        except Exception as error:
            raise self._named(error, url) from error
        if not getattr(self._fs, "async_impl", False):
            self._alone = threading.RLock()

    def names(self) -> Sequence[str]:
        """Return the directories in it, sorted, also those of which only an upload that never ended is there."""
        with self._named_errors(""):
            try:
                self._fs.invalidate_cache()
                listed = self._call(lambda: self._fs.ls(self._root, detail=False))
            except FileNotFoundError:
                listed = []
            begun = [key[len(self._root) + 1 :].partition("/")[0] for key, _id in self._unfinished("")]
            return sorted({posixpath.basename(str(one).rstrip("/")) for one in listed} | set(begun) - {""})

    def sizes(self, name: str) -> Mapping[str, int]:
        """Return the bytes of each file below a directory, by its path in that; none if there is no such directory."""
        below = self._path(name)
        with self._named_errors(name):
            self._fs.invalidate_cache()
            found = self._call(lambda: self._fs.find(below, detail=True))
            return {path[len(below) + 1 :]: int(one["size"]) for path, one in found.items()}

    def require_writable(self) -> None:
        """Write a little and remove it again; raises what stands in the way."""
        with self._named_errors(""):
            self._write(".golive", [b"golive was here"], _CHUNK)
        self.remove(".golive")

    def put(self, source: Path, path: str) -> None:
        """Copy a local file there in chunks; an object store shows it whole or not at all."""
        block = max(_CHUNK, ceil(source.stat().st_size / _MOST_PARTS))
        with source.open("rb") as file, self._named_errors(path):
            self._write(path, iter(partial(file.read, _CHUNK), b""), block)

    def _write(self, path: str, chunks: Iterable[bytes], block: int) -> None:
        into = self._call(lambda: self._create(self._path(path), block))
        try:
            for chunk in chunks:
                self._call(partial(into.write, chunk))
            self._call(into.close)
        except BaseException:
            self._give_up(into)
            raise

    @contextmanager
    def open(self, path: str) -> Iterator[BinaryIO]:
        """Read a file from there in chunks; raises `NotFound` if there is none."""
        with self._named_errors(path):
            # What is known of it from an earlier listing must not decide how much of it is read.
            self._fs.invalidate_cache()
            file = self._call(
                lambda: self._fs.open(self._path(path), "rb", block_size=_CHUNK, cache_type="none"),
            )
        try:
            yield io.BufferedReader(_Chunks(self, file, path), _CHUNK)
        finally:
            with suppress(Exception):
                self._call(file.close)

    def remove(self, path: str) -> None:
        """Remove a file, or a directory with all in it and with uploads that never ended; nothing there is fine."""
        with self._named_errors(path):
            for key, upload in self._unfinished(path):
                bucket, _, below = key.partition("/")
                self._call(partial(self._fs.abort_mpu, bucket, below, upload))
            with suppress(FileNotFoundError):
                self._call(lambda: self._fs.rm(self._path(path), recursive=True))

    def _unfinished(self, path: str) -> list[tuple[str, str]]:
        """Return the path and the id of each upload below one that was begun and neither ended nor given up.

        Whoever may not list them, which is a right of its own, lets the store end them by a rule of its life cycle.
        """
        if not hasattr(self._fs, "list_multipart_uploads"):
            return []
        bucket, below = self._root.partition("/")[0], f"{self._path(path)}/"
        try:
            found = self._call(lambda: self._fs.list_multipart_uploads(bucket))
        except (PermissionError, NotImplementedError, FileNotFoundError):
            return []
        begun = [(f"{bucket}/{one['Key']}", str(one["UploadId"])) for one in found]
        return [(key, upload) for key, upload in begun if f"{key}/".startswith(below)]

    def _create(self, path: str, block: int) -> Any:
        try:
            return self._fs.open(path, "wb", block_size=block)
        except FileNotFoundError:
            self._fs.makedirs(posixpath.dirname(path), exist_ok=True)
            return self._fs.open(path, "wb", block_size=block)

    def _give_up(self, into: Any) -> None:
        """End an upload so that nothing comes of it; closing it would keep what there is as if it were the whole."""
        with suppress(Exception):
            if isinstance(into, AbstractBufferedFile):
                into.closed = True
                self._call(into.discard)
            else:
                self._call(into.close)

    def _path(self, path: str) -> str:
        return f"{self._root.rstrip('/')}/{path}".rstrip("/")

    def _call(self, call: Callable[[], T]) -> T:
        def alone() -> T:
            with self._alone:
                return call()

        return self._within(alone)

    def _within(self, call: Callable[[], T]) -> T:
        """Return what a call returns; raises `TimedOut` if it does not end, which then ends with the process."""
        ended: queue.SimpleQueue[tuple[Any, BaseException | None]] = queue.SimpleQueue()

        def run() -> None:
            try:
                ended.put((call(), None))
            except BaseException as error:  # noqa: BLE001 - it is raised where it was waited for
                ended.put((None, error))

        threading.Thread(target=run, name="storage", daemon=True).start()
        try:
            value, error = ended.get(timeout=self._timeout)
        except queue.Empty:
            raise TimedOut(f"silent for {self._timeout:g} s", where=self.url, do="look at the store") from None
        if error is not None:
            raise error
        found: T = value
        return found

    @contextmanager
    def _named_errors(self, path: str) -> Iterator[None]:
        try:
            yield
        except GoliveError:
            raise
        except Exception as error:
            raise self._named(error, f"{self.url}/{path}".rstrip("/")) from error

    def _named(self, error: Exception, where: str) -> GoliveError:
        """Return golive's error for one of fsspec or of what lies beneath it."""
        seen, names = self._shown(error), {one.__name__ for one in type(error).__mro__}
        if isinstance(error, FileNotFoundError):
            return NotFound(f"nothing is there: {seen}", where=where, do="see whether it was removed or renamed")
        if isinstance(error, PermissionError) or names & _CREDENTIALS:
            return AccessDenied(seen, where=where, do="look at backup.storage.options and the rights in the store")
        if isinstance(error, TimeoutError):
            return TimedOut(seen, where=where)
        if names & _CONNECTION:
            return Unreachable(seen, where=where, do="look at the store, and at backup.storage")
        if isinstance(error, OSError) and error.errno in _PASSING:
            return ServerTrouble(seen, where=where)
        return OutsideError(seen, where=where)

    def _shown(self, error: BaseException) -> str:
        return mask_values(str(error) or type(error).__name__, self._secrets)


class _Chunks(io.RawIOBase):
    """A file of a store, of which each read is bounded in time and whose errors are golive's."""

    def __init__(self, bucket: FsspecBucket, file: Any, path: str) -> None:
        self._bucket, self._file, self._path = bucket, file, path

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        chunk = self._read(len(buffer))
        buffer[: len(chunk)] = chunk
        return len(chunk)

    def readall(self) -> bytes:
        return self._read(-1)

    def _read(self, size: int) -> bytes:
        with self._bucket._named_errors(self._path):  # noqa: SLF001 - a part of it
            found: bytes = self._bucket._call(lambda: self._file.read(size))  # noqa: SLF001
        return found


def _texts(value: Any) -> Iterator[str]:
    """Yield the texts within options that are not for everyone to see: all but addresses."""
    if isinstance(value, str):
        if "://" not in value:
            yield value
    elif isinstance(value, Mapping):
        for below in value.values():
            yield from _texts(below)
    elif isinstance(value, list | tuple):
        for below in value:
            yield from _texts(below)
