"""Checksums of files: several at a time, and of none twice running while it stays as it is."""

from __future__ import annotations

import hashlib
import os
import stat
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import google_crc32c

_AT_ONCE = 4  # more than there may be processors, because a file that is synced waits for the disk
_CHUNK = 1 << 20
_SETTLED = 0.5
"""Seconds after a file's last change from which a further one surely shows in its times, whose steps are coarse."""
_LOOK = 0.3
"""Seconds between two looks for files that are finished, of those that are being written."""
_FRESH = 600.0
"""Seconds for which a sum holds without another look: long enough for the steps of one backup."""


@dataclass(frozen=True)
class Sums:
    """A file's checksums, as hexadecimal digits: ``crc32c`` as PostgreSQL writes it, its lowest byte first."""

    sha256: str
    crc32c: str


_KNOWN: dict[tuple[int, ...], tuple[Sums, float]] = {}
"""By device, inode, size and times of change: what was read, and when. A backup's files are read by each of its steps,
and of a large one each reading takes longer than the comparison of its tables."""
_CHANGING = threading.Lock()


def sums_of(paths: Iterable[Path], *, sync: bool = False) -> dict[Path, Sums]:
    """Return the sums of each file; raises `OSError`. With ``sync`` each is on the disk for good too."""
    _forget_old()
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="sums") as pool:
        wanted = list(paths)
        return dict(zip(wanted, pool.map(lambda path: sums(path, sync=sync), wanted), strict=True))


@contextmanager
def summed_along(directory: Path) -> Iterator[None]:
    """Take the sums of files below a directory, and sync each, while the block writes others there.

    Whoever asks for them after the block has them at once, but for the last. A file that is written to after all has
    other times then, and is read again.
    """
    ended = threading.Event()

    def look() -> None:
        seen: set[tuple[int, ...]] = set()
        while not ended.wait(_LOOK):
            for path in (Path(at, name) for at, _directories, names in os.walk(directory) for name in names):
                if ended.is_set():
                    return
                with suppress(OSError):  # it is gone or has another name by now, or will tell whoever needs it
                    status = path.lstat()
                    if stat.S_ISREG(status.st_mode) and _is_settled(status) and _key(status) not in seen:
                        sums(path, sync=True)
                        seen.add(_key(status))

    with ThreadPoolExecutor(1, thread_name_prefix="sums") as beside:
        looking = beside.submit(look)
        try:
            yield
        finally:
            ended.set()
        looking.result()


def sums(path: Path, *, sync: bool = False) -> Sums:
    """Return a file's sums, unless it has changed those taken in the last ten minutes; raises `OSError`."""
    with path.open("rb", buffering=0) as file:
        status = os.fstat(file.fileno())
        key = _key(status)
        known, now = _KNOWN.get(key), time.monotonic()
        if known is not None and now - known[1] < _FRESH:
            found, settled = known[0], False
        else:
            settled = _is_settled(status)
            sha256, crc32c = hashlib.sha256(), google_crc32c.Checksum()
            while part := file.read(_CHUNK):
                sha256.update(part)
                crc32c.update(part)
            found = Sums(sha256.hexdigest(), crc32c.digest()[::-1].hex())
        if sync:
            os.fsync(file.fileno())
    if settled:
        with _CHANGING:
            _KNOWN[key] = (found, now)
    return found


def _key(status: os.stat_result) -> tuple[int, ...]:
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def _is_settled(status: os.stat_result) -> bool:
    return time.time() - max(status.st_mtime, status.st_ctime) > _SETTLED


def _forget_old() -> None:
    now = time.monotonic()
    with _CHANGING:
        for old in [old for old, (_sums, at) in _KNOWN.items() if now - at >= _FRESH]:
            del _KNOWN[old]
