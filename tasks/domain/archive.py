"""A backup as a directory: its content, a manifest that tells what a copy must hold, and a hash of every file."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tasks.domain.errors import BackupNotProven, DiskTooSmall, OutsideError
from tasks.domain.file_sums import summed_along, sums_of
from tasks.domain.fingerprint import Fingerprint
from tasks.domain.ports import Session, World
from tasks.domain.way_back import differences

MANIFEST = "manifest.json"
SEALED = ".age"
"""What the name of an encrypted file ends in."""


@dataclass(frozen=True)
class Archive:
    """A finished backup. ``size`` in bytes on disk; ``digest`` is the SHA-256 of its manifest.

    Where the files are encrypted, the manifest tells that too, which does not change the digest.
    """

    directory: Path
    size: int
    digest: str
    manifest: Mapping[str, Any]

    @property
    def kind(self) -> str:
        """Which kind of backup it is."""
        return str(self.manifest.get("kind", "dump"))

    @property
    def content(self) -> Path:
        """The directory, named like the kind of backup, in the form of the tool that wrote it."""
        if self.is_sealed:
            raise BackupNotProven("is encrypted", where=str(self.directory), do="decrypt it before its use")
        return self.directory / self.kind

    @property
    def is_sealed(self) -> bool:
        """Whether its files are encrypted."""
        return "sealed" in self.manifest

    @property
    def files(self) -> Mapping[str, str]:
        """The SHA-256 of each file in the clear, by its path."""
        found: Mapping[str, str] = self.manifest["files"]
        return found

    @property
    def lying(self) -> Mapping[str, str]:
        """The SHA-256 of each file as it lies there, by the path by which it does."""
        found: Mapping[str, str] = self.manifest["sealed"]["files"] if self.is_sealed else self.files
        return found

    def lies_as(self, path: str) -> str:
        """Return by which path a file lies there."""
        return f"{path}{SEALED}" if self.is_sealed else path

    @property
    def server_version(self) -> int:
        """The version of production's server, as `Session.server_version`."""
        return int(self.manifest["server_version"])

    @property
    def tables(self) -> Fingerprint:
        """What each table held when the dump was taken."""
        found: Fingerprint = self.manifest["tables"]
        return found


@contextmanager
def exported_snapshot(session: Session) -> Iterator[str]:
    """Hold a snapshot open that other connections can see the same data through; ended by the block."""
    # The role may be limited to short transactions, but this one waits for a tool. Which limits there are depends on
    # the server's version.
    session.query(
        "SELECT set_config(name, '0', false) FROM pg_settings WHERE name IN "
        "('idle_in_transaction_session_timeout', 'transaction_timeout', 'idle_session_timeout')"
    )
    with session.transaction():
        session.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        yield str(session.value("SELECT pg_export_snapshot()"))


def moment_of(session: Session, snapshot: str) -> Mapping[str, Any]:
    """Return a snapshot's name, when it was taken, which transactions it sees, and by when they were in the log.

    Whoever replays the log from another backup finds by that position what came after this one.
    """
    row = session.query(
        "SELECT now() AS at, txid_current_snapshot()::text AS transactions, CASE WHEN pg_is_in_recovery() "
        "THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_insert_lsn() END::text AS log"
    )[0]
    return {"name": snapshot, "at": row["at"].isoformat(), "transactions": row["transactions"], "log": row["log"]}


def database_size(session: Session) -> int:
    """Return the bytes that the database takes on its server's disk."""
    return int(session.value("SELECT pg_database_size(current_database())"))


def take(
    world: World, directory: Path, kind: str, save: Callable[[Path], Mapping[str, Any]], about: Mapping[str, Any]
) -> Archive:
    """Make a backup of a kind in ``directory``, whole or not at all, with the hash of every file in its manifest.

    ``save`` writes the content into the directory that it is given, and returns what the manifest tells beside
    ``about``.
    """
    partial = directory.with_name(f".partial-{directory.name}")
    world.host.remove_tree(partial)
    partial.mkdir(parents=True, mode=0o700)
    try:
        with summed_along(partial):
            told = save(partial / kind)
        for path in [partial, *partial.rglob("*")]:
            _keep_private(path)
        manifest = {
            **about,
            **told,
            "kind": kind,
            "finished_at": world.clock.now().isoformat(),
            "files": _sums(partial, sync=True),
            # A server does not start on its files without the directories that are empty.
            "directories": sorted(str(path.relative_to(partial)) for path in partial.rglob("*") if path.is_dir()),
        }
        text = as_text(manifest)
        world.host.write(partial / MANIFEST, text)
        _sync_directories(partial)
        partial.rename(directory)
    except OSError as error:
        world.host.remove_tree(partial)
        full = error.errno in {errno.ENOSPC, errno.EDQUOT}
        raise (DiskTooSmall if full else OutsideError)(
            f"cannot be written: {error.strerror}",
            where=str(error.filename or directory),
            do="make room, or name another directory in the release file" if full else "mend that, then try again",
        ) from error
    except BaseException:
        world.host.remove_tree(partial)
        raise
    return replace(parsed(text.encode(), directory), size=_size(directory))


def load(directory: Path, *, digest: str = "") -> Archive:
    """Read a backup's manifest and hold every file against it, and the manifest against ``digest`` where that is known.

    Raises `BackupNotProven` if a file is missing, was changed or came in addition, or if it is another backup.
    """
    path = directory / MANIFEST
    try:
        taken = parsed(path.read_bytes(), directory)
        found = _sums(directory)
        size = _size(directory)
    except OSError as error:
        where = str(error.filename or path)
        raise BackupNotProven(f"cannot be read: {error.strerror}", where=where, do="use another backup") from error
    if wrong := differences(taken.lying, found):
        raise BackupNotProven(
            f"{len(wrong)} files are not what was dumped: {', '.join(wrong[:5])}",
            expected="the SHA-256 of each as in the manifest",
            where=str(directory),
            do="use another backup; look for the disk's trouble",
        )
    if digest:
        require_recorded(taken, digest, str(directory))
    return replace(taken, size=size)


def require_recorded(taken: Archive, digest: str, where: str) -> None:
    """Raise `BackupNotProven` unless the backup is the one that is on record, by the SHA-256 of its manifest."""
    if taken.digest != digest:
        raise BackupNotProven(
            f"it is whole, but not the backup that is on record: its manifest has SHA-256 {taken.digest[:12]}",
            expected=digest[:12],
            where=where,
            do="put the backup itself back there, or use another one; somebody replaced or edited it",
        )


def parsed(text: bytes, directory: Path, where: str = "") -> Archive:
    """Return what a manifest tells of a backup, whose files are not looked at.

    Raises `BackupNotProven` if it cannot be understood; ``where`` is where it lies, if not in the directory.
    """
    try:
        manifest = json.loads(text)
        manifest |= {key: dict(manifest[key]) for key in ("files", "tables")}
        if outside := [path for path in manifest["files"] if ".." in Path(path).parts or Path(path).is_absolute()]:
            raise ValueError(f"{outside[0]!r} leads out of it")
        if "sealed" in manifest and {f"{one}{SEALED}" for one in manifest["files"]} != set(manifest["sealed"]["files"]):
            raise ValueError("it tells of other files encrypted than backed up")
    except (ValueError, KeyError, TypeError) as error:
        raise BackupNotProven(
            f"its manifest cannot be read: {error}",
            where=where or str(directory / MANIFEST),
            do="use another backup",
        ) from error
    clear = as_text(in_clear(manifest)).encode() if "sealed" in manifest else text
    return Archive(directory, 0, hashlib.sha256(clear).hexdigest(), manifest)


def as_text(manifest: Mapping[str, Any]) -> str:
    """Return a manifest as it is written."""
    return json.dumps(manifest, indent=1, sort_keys=True)


def in_clear(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Return the manifest of a backup as it was before its files were encrypted."""
    return {key: value for key, value in manifest.items() if key != "sealed"}


def make_directories(directory: Path, manifest: Mapping[str, Any]) -> None:
    """Make a new directory (0700) with all that the files of a backup lie in, also those that are empty."""
    directory.mkdir(parents=True, mode=0o700)
    parents = {str(Path(path).parent) for path in manifest["files"]}
    for path in sorted({*manifest.get("directories", ()), *parents} - {"."}):
        for one in (*reversed(Path(path).parents), Path(path)):
            (directory / one).mkdir(mode=0o700, exist_ok=True)


def require_equal(archive: Archive, copy: Fingerprint) -> None:
    """Raise `BackupNotProven` unless the restored copy holds in every table exactly what was dumped."""
    wrong = differences(archive.tables, copy)
    if not wrong:
        return
    lines = []
    for name in wrong[:5]:
        before, after = archive.tables.get(name), copy.get(name)
        lines.append(f"{name}: {_show(before)} dumped, {_show(after)} restored")
    raise BackupNotProven(
        f"{len(wrong)} of {len(archive.tables)} tables differ after the restore: {'; '.join(lines)}",
        expected="equal row counts and content hashes",
        where=str(archive.directory),
        do="take a new backup; nothing in production was changed",
    )


def require_sequences(archive: Archive, copy: Mapping[str, int]) -> None:
    """Raise `BackupNotProven` unless every sequence of the copy stands where it stood while the dump was made.

    Sequences do not keep to snapshots, so that one which went on meanwhile may stand anywhere in between.
    """
    wrong = []
    for name, (before, after) in archive.manifest.get("sequences", {}).items():
        least, most = sorted((before, after))
        if name not in copy or not least <= copy[name] <= most:
            wrong.append(f"{name}: {before} to {after} dumped, {copy.get(name, 'no sequence')} restored")
    if wrong:
        raise BackupNotProven(
            f"{len(wrong)} sequences differ after the restore: {'; '.join(wrong[:5])}",
            expected="each to go on where it stood",
            where=str(archive.directory),
            do="take a new backup; nothing in production was changed",
        )


_LEFTOVER = re.compile(r"\.(?:partial-)?(\d{8}T\d{6})\d{3}-.+")


def leftovers(names: Iterable[str], now: datetime, age: timedelta) -> list[str]:
    """Return those names in a directory of backups that a killed process left, begun longer ago than ``age``."""
    found = []
    for name in names:
        match = _LEFTOVER.fullmatch(name)
        if match and now - datetime.strptime(match[1], "%Y%m%dT%H%M%S").replace(tzinfo=UTC) > age:
            found.append(name)
    return found


def name_for(release_id: str, at: datetime) -> str:
    """Return the directory name of a backup, which sorts by time.

    To the millisecond, since one that is taken again at once after a kill must not meet the one before.
    """
    return f"{at:%Y%m%dT%H%M%S}{at.microsecond // 1000:03d}-{release_id}"


def release_of(name: str) -> str | None:
    """Return the release whose backup, finished or not, lies in a directory of that name, or None for any other."""
    match = re.fullmatch(r"(?:\.partial-)?\d{8}T\d{9}-(.+)", name)
    return match[1] if match else None


def _show(one: Mapping[str, Any] | None) -> str:
    return "no table" if one is None else f"{one['rows']} rows (hash {one['hash'][-8:]})"


def _files(directory: Path) -> list[Path]:
    return sorted(path for path in directory.rglob("*") if path.is_file() and path != directory / MANIFEST)


def _size(directory: Path) -> int:
    return sum(one.stat().st_size for one in directory.rglob("*") if one.is_file())


def _sums(directory: Path, *, sync: bool = False) -> dict[str, str]:
    return {str(path.relative_to(directory)): one.sha256 for path, one in sums_of(_files(directory), sync=sync).items()}


def _sync_directories(directory: Path) -> None:
    for path in [*(one for one in directory.rglob("*") if one.is_dir()), directory, directory.parent]:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _keep_private(path: Path) -> None:
    mode = 0o700 if path.is_dir() else 0o600
    if stat.S_IMODE(path.stat().st_mode) != mode:
        path.chmod(mode)
