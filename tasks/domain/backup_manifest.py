"""The manifest that pg_basebackup writes: what the server says that each file of a physical backup holds."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from tasks.domain.errors import BackupNotProven
from tasks.domain.file_sums import sums, sums_of

_NAME = "backup_manifest"
_NOT_LISTED = ("pg_wal/", "postgresql.auto.conf", _NAME)
_LAST = b'"Manifest-Checksum"'


def verify_files(directory: Path, *, segment: int) -> int:
    """Return how many files of a physical backup are as the server's manifest lists them, by size and checksum.

    Raises `BackupNotProven` unless all are, and the log files are whole, of ``segment`` bytes each.
    """
    wrong = [f"pg_wal/{path.name}" for path in _segments(directory) if path.stat().st_size != segment]
    if not list(_segments(directory)):
        wrong.append("pg_wal: no log file")
    listed = _listed(directory)
    if wrong := wrong + _unlike(directory, listed):
        raise BackupNotProven(
            f"{len(wrong)} files are not what the server sent: {', '.join(sorted(wrong)[:5])}",
            expected="size and checksum as in its backup_manifest",
            where=str(directory),
            do="take a new backup; look for the disk's trouble",
        )
    return len(listed)


def _segments(directory: Path) -> list[Path]:
    return [path for path in (directory / "pg_wal").glob("[0-9A-F]*") if path.is_file() and len(path.name) == 24]


def _listed(directory: Path) -> dict[str, Any]:
    path = directory / _NAME
    try:
        content = path.read_bytes()
        manifest = json.loads(content)
        listed = {
            one["Path"] if "Path" in one else bytes.fromhex(one["Encoded-Path"]).decode(errors="surrogateescape"): one
            for one in manifest["Files"]
        }
        whole = hashlib.sha256(content[: content.rindex(_LAST)]).hexdigest() == manifest["Manifest-Checksum"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BackupNotProven(f"cannot be read: {error}", where=str(path), do="take a new backup") from error
    if not whole:
        raise BackupNotProven("was changed: its own checksum differs", where=str(path), do="take a new backup")
    return listed


def _unlike(directory: Path, listed: dict[str, Any]) -> list[str]:
    found = {str(path.relative_to(directory)): path for path in directory.rglob("*") if path.is_file()}
    sums_of(found[name] for name in listed.keys() & found.keys())  # several at a time, and remembered
    wrong = [name for name in found.keys() - listed.keys() if not name.startswith(_NOT_LISTED)]
    for name, one in listed.items():
        path = found.get(name)
        if path is None:
            wrong.append(f"{name} (missing)")
        elif path.stat().st_size != one["Size"] or _sum(path, one["Checksum-Algorithm"]) != one["Checksum"]:
            wrong.append(name)
    return wrong


def _sum(path: Path, algorithm: str) -> str:
    found = sums(path)
    match algorithm:
        case "CRC32C":
            return found.crc32c
        case "SHA256":
            return found.sha256
    raise BackupNotProven(
        f"checksums by {algorithm}", expected="CRC32C or SHA256", where=str(path), do="take a new backup"
    )
