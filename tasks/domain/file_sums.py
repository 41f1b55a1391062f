"""SHA-256 of files: several at a time, and of none twice running while it stays as it is."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

_AT_ONCE = 2
_SETTLED = 0.5
"""Seconds after a file's last change from which a further one surely shows in its times, whose steps are coarse."""
_FRESH = 600.0
"""Seconds for which a sum holds without another look: long enough for the steps of one backup."""

_KNOWN: dict[tuple[int, ...], tuple[str, float]] = {}
"""By device, inode, size and times of change: what was read, and when. A backup's files are read by each of its steps,
and of a large one each reading takes longer than the comparison of its tables."""
_CHANGING = threading.Lock()


def sha256_of(paths: Iterable[Path]) -> dict[Path, str]:
    """Return the SHA-256 of each file; raises `OSError`."""
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="sha256") as pool:
        wanted = list(paths)
        return dict(zip(wanted, pool.map(sha256, wanted), strict=True))


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file, unless it has changed the one read in the last ten minutes; raises `OSError`."""
    with path.open("rb") as file:
        status = os.fstat(file.fileno())
        key = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        known, now = _KNOWN.get(key), time.monotonic()
        if known is not None and now - known[1] < _FRESH:
            return known[0]
        settled = time.time() - max(status.st_mtime, status.st_ctime) > _SETTLED
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if settled:
        with _CHANGING:
            for old in [old for old, (_sum, at) in _KNOWN.items() if now - at >= _FRESH]:
                del _KNOWN[old]
            _KNOWN[key] = (found, now)
    return found
