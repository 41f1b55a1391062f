"""Keeps backups where the release file says: encrypted, in a store elsewhere, and brings them back to be read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tasks.context import Context
from tasks.domain import archive, sealing
from tasks.domain.archive import MANIFEST, Archive
from tasks.domain.errors import BackupNotProven, GoliveError, NotFound
from tasks.domain.ports import Bucket
from tasks.domain.storage import Encryption, Storage
from tasks.ledger.models import Backup
from tasks.spec import loading


def backups_directory(ctx: Context) -> Path:
    """Return where the system's backups are made."""
    return ctx.place(ctx.file.backup.directory)


def require_keepable(ctx: Context) -> None:
    """Raise what stands in the way of keeping a backup: a missing package, a store that is away, a key that is wrong.

    Raises `ToolMissing`, `UserError`, `SecretMissing`, `AccessDenied`, `Unreachable`.
    """
    plan = ctx.file.backup
    if plan.encrypt is not None:
        ctx.world.cipher.require_pair(plan.encrypt.recipients, _identity(ctx, plan.encrypt))
    if plan.storage is not None:
        plan.storage.bucket(ctx.world, ctx.file.system).require_writable()


def keep(ctx: Context, directory: Path, digest: str) -> tuple[Archive, Mapping[str, Any]]:
    """Keep a backup that was just proven as the release file says, and return it and where and how it is kept.

    What is kept was read back, decrypted, and is byte for byte what was proven. ``digest`` is that of its manifest.
    May be done again after it was broken off. Raises `BackupNotProven` if what is kept differs.
    """
    plan, world = ctx.file.backup, ctx.world
    taken, began = archive.load(directory), world.clock.monotonic()
    _require_on_record(taken.digest, digest, str(directory))
    identity = _identity(ctx, plan.encrypt)
    if plan.encrypt is not None and not taken.is_sealed:
        taken = sealing.seal(world, taken, plan.encrypt.recipients)
    told: dict[str, Any] = {"local": str(directory), "files": len(taken.files)}
    if plan.encrypt is not None:
        told |= {"encrypted": "age", "recipients": list(plan.encrypt.recipients)}
    if plan.storage is not None:
        bucket = plan.storage.bucket(world, ctx.file.system)
        told["sent"] = sealing.upload(world, taken, bucket, identity, plan.storage.parallel)
        told["store"] = f"{bucket.url}/{directory.name}"
    elif taken.is_sealed:
        sealing.read_back(world, taken, sealing.on_disk(directory), str(directory), identity, 1)
    return taken, {**told, "keep_seconds": world.clock.monotonic() - began}


def known(ctx: Context, row: Backup) -> Archive:
    """Return a backup that is on record by its manifest; its files are neither looked at nor fetched.

    Raises `BackupNotProven` if the manifest is not there, or not the one that is on record.
    """
    local, digest = local_copy(row), str(row.proof["manifest_sha256"])
    try:
        found = sealing.manifest_in(sealing.on_disk(local), str(local))
        _require_on_record(found.digest, digest, str(local))
    except BackupNotProven:
        if not is_stored(row):
            raise
        bucket, _parallel = _store_of(ctx, row)
        found = sealing.manifest_in(sealing.in_store(bucket, local.name), row.location)
        _require_on_record(found.digest, digest, row.location)
    return found


@contextmanager
def opened(ctx: Context, row: Backup) -> Iterator[Archive]:
    """Give the block a backup that is on record, readable on the disk and held against what is on record.

    That is the local copy, or, where that is gone, damaged or encrypted, one that is fetched and decrypted for the
    block. Raises `BackupNotProven` if what is kept is not what was proven, and `SecretMissing`.
    """
    local, digest = local_copy(row), str(row.proof["manifest_sha256"])
    try:
        found = archive.load(local)
        _require_on_record(found.digest, digest, str(local))
        source, where, parallel = sealing.on_disk(local), str(local), 1
    except BackupNotProven as error:
        if not is_stored(row):
            raise
        ctx.world.progress(f"the local copy of {row.location} cannot be used, so it is fetched: {error}")
        bucket, parallel = _store_of(ctx, row)
        source, where = sealing.in_store(bucket, local.name), row.location
        found = known(ctx, row)
    else:
        if not found.is_sealed:
            yield found
            return
    work = backups_directory(ctx) / f".partial-{archive.name_for(ctx.release.id, ctx.world.clock.now())}"
    archive.require_room(ctx.world, work.parent, row.bytes, ctx.file.backup.headroom)
    try:
        identity = _identity(ctx, _encryption_of(ctx, row)) if found.is_sealed else ""
        ctx.world.host.remove_tree(work)
        yield sealing.bring(ctx.world, found, source, where, work / local.name, identity, parallel)
    finally:
        ctx.world.host.remove_tree(work)


def local_copy(row: Backup) -> Path:
    """Return where a backup's local copy is, or was."""
    return Path(row.proof.get("local", row.location))


def names_on_record(ctx: Context) -> set[str]:
    """Return the names of the directories of the system's backups that are kept, on the disk or in a store."""
    return {local_copy(one).name for one in ctx.ledger.evidence.backups(ctx.file.system)}


def is_stored(row: Backup) -> bool:
    """Tell whether a backup is kept in a store."""
    return "store" in row.proof


def remove(ctx: Context, row: Backup) -> None:
    """Remove a backup wherever it is kept: in the store its manifest first, without which the rest is no backup."""
    if is_stored(row):
        bucket, _parallel = _store_of(ctx, row)
        name = local_copy(row).name
        bucket.remove(f"{name}/{MANIFEST}")
        bucket.remove(name)
    ctx.world.host.remove_tree(local_copy(row))


def remove_stored(ctx: Context, names: list[str]) -> None:
    """Remove from the store what is no backup on record; without a store, or where that is away, nothing."""
    if ctx.file.backup.storage is None:
        return
    with suppress(GoliveError):
        bucket = ctx.file.backup.storage.bucket(ctx.world, ctx.file.system)
        for name in names:
            bucket.remove(name)


def stored_names(ctx: Context) -> list[str]:
    """Return what lies in the store of the system, whole or not, this ledger's or another's; without a store nothing.

    Raises `Unreachable`, `AccessDenied` and what else stands in the way.
    """
    if ctx.file.backup.storage is None:
        return []
    return list(ctx.file.backup.storage.bucket(ctx.world, ctx.file.system).names())


def _store_of(ctx: Context, row: Backup) -> tuple[Bucket, int]:
    """Return the store that keeps a backup, and how many files may be read from it at a time.

    It is reached as the present release file says, whose credentials are the newer ones, unless that names another
    store than the release did that the backup was taken for.
    """
    for plan in (ctx.file.backup.storage, _file_of(ctx, row).backup.storage):
        if isinstance(plan, Storage) and row.location == f"{plan.of(row.system)}/{local_copy(row).name}":
            return plan.bucket(ctx.world, row.system), plan.parallel
    raise NotFound(f"{row.location} is in no store that a release file names", do="name that store in backup.storage")


def _encryption_of(ctx: Context, row: Backup) -> Encryption | None:
    return ctx.file.backup.encrypt or _file_of(ctx, row).backup.encrypt


def _file_of(ctx: Context, row: Backup) -> Any:
    release = ctx.ledger.releases.get(row.release_id)
    return loading.parse(release.file_text, release.file)


def _identity(ctx: Context, encryption: Encryption | None) -> str:
    return "" if encryption is None else ctx.world.secrets.resolve(encryption.identity)


def _require_on_record(seen: str, digest: str, where: str) -> None:
    if seen != digest:
        raise BackupNotProven(
            f"its manifest has SHA-256 {seen[:16]}…",
            expected=f"{digest[:16]}…, which was proven",
            where=where,
            do="use another backup",
        )
