"""Keeps backups where the release file says: encrypted, in a store elsewhere, and brings them back to be read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.backups import Backup as Plan
from tasks.context import Context
from tasks.domain import archive, sealing
from tasks.domain.archive import MANIFEST, Archive
from tasks.domain.errors import BackupNotProven, GoliveError, NotFound
from tasks.domain.ports import Bucket
from tasks.domain.room import require_room
from tasks.domain.sealing import Source
from tasks.domain.storage import Encryption
from tasks.ledger.models import Backup
from tasks.proving import plan_of
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
    taken, began = archive.load(directory, digest=digest), world.clock.monotonic()
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


@dataclass(frozen=True)
class _Found:
    """A backup as it lies somewhere: its manifest, what opens its files, where, and how many may be read at a time."""

    kept: Archive
    source: Source
    where: str
    parallel: int
    on_disk: bool


def known(ctx: Context, row: Backup) -> Archive:
    """Return a backup that is on record, every file of it on the disk held against its manifest; none is fetched.

    Raises `BackupNotProven` if it never was proven, is not there, or is not what was proven.
    """
    return _find(ctx, row).kept


def manifest_of(ctx: Context, row: Backup) -> Mapping[str, Any]:
    """Return the manifest of a backup that is on record, from the disk or its store; no other file is looked at.

    Raises `BackupNotProven` if it is not there or not the one on record, and what keeps it from being fetched.
    """
    local = local_copy(row)
    try:
        kept = sealing.manifest_in(sealing.on_disk(local), str(local))
    except BackupNotProven:
        if not is_stored(row):
            raise
        bucket, _parallel = _store_of(ctx, row)
        kept = sealing.manifest_in(sealing.in_store(bucket, local.name), row.location)
    archive.require_recorded(kept, str(row.proof["manifest_sha256"]), row.location)
    return kept.manifest


@contextmanager
def opened(ctx: Context, row: Backup) -> Iterator[Archive]:
    """Give the block a backup that is on record, readable on the disk and held against what is on record.

    That is the local copy, or, where that is gone, damaged or encrypted, one that is fetched and decrypted for the
    block, and with it what it builds upon. Raises `BackupNotProven` if what is kept is not what was proven, and
    `SecretMissing`.
    """
    rows = [*_built_upon(ctx, row), row]
    found = [_find(ctx, one) for one in rows]
    at_hand = all(one.on_disk and not one.kept.is_sealed for one in found)
    if at_hand and len({one.kept.directory.parent for one in found}) == 1:
        yield found[-1].kept
        return
    work = backups_directory(ctx) / f".partial-{archive.name_for(ctx.release.id, ctx.world.clock.now())}"
    require_room(ctx.world, work.parent, sum(one.bytes for one in rows), ctx.file.backup.headroom)
    try:
        ctx.world.host.remove_tree(work)
        for one, there in zip(rows, found, strict=True):
            identity = _identity(ctx, _encryption_of(ctx, one)) if there.kept.is_sealed else ""
            into = work / local_copy(one).name
            brought = sealing.bring(ctx.world, there.kept, there.source, there.where, into, identity, there.parallel)
        yield brought
    finally:
        ctx.world.host.remove_tree(work)


def _find(ctx: Context, row: Backup) -> _Found:
    local, digest = local_copy(row), str(row.proof["manifest_sha256"])
    if not row.proven:
        raise BackupNotProven(
            f"backup {row.id} of {row.system} was never proven", where=row.location, do="use a backup that was"
        )
    try:
        kept = archive.load(local, digest=digest)
        return _Found(kept, sealing.on_disk(local), str(local), parallel=1, on_disk=True)
    except BackupNotProven as error:
        if not is_stored(row):
            raise
        if ctx.world.host.exists(local):
            ctx.world.progress(f"the local copy of {row.location} cannot be used, so it is fetched: {error}")
    bucket, parallel = _store_of(ctx, row)
    source = sealing.in_store(bucket, local.name)
    kept = sealing.manifest_in(source, row.location)
    archive.require_recorded(kept, digest, row.location)
    return _Found(kept, source, row.location, parallel, on_disk=False)


def _built_upon(ctx: Context, row: Backup) -> list[Backup]:
    """Return the backups that one builds upon, the whole one first; raises `BackupNotProven` if one is gone."""
    there = {local_copy(one).name: one for one in ctx.ledger.evidence.backups(row.system)}
    needed = list(row.proof.get("needs", ()))
    if gone := [name for name in needed if name not in there]:
        raise BackupNotProven(
            f"it builds upon {', '.join(gone)}, which is not kept any more", where=row.location, do="use another backup"
        )
    return [there[name] for name in needed]


def readable_copies(ctx: Context) -> list[Path]:
    """Return where proven backups of the kind lie readable on the disk, the newest first, for another to build upon."""
    rows = ctx.ledger.evidence.backups(ctx.file.system)
    mine = [one for one in rows if one.proven and one.kind == ctx.file.backup.kind]
    return [local_copy(one) for one in mine if "encrypted" not in one.proof and ctx.world.host.exists(local_copy(one))]


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

    It is reached as a present release file says, whose credentials are the newer ones, unless that names another
    store than the release did that the backup was taken for.
    """
    for plan in _plans(ctx, row):
        storage = plan.storage
        if storage is not None and row.location == f"{storage.of(row.system)}/{local_copy(row).name}":
            return storage.bucket(ctx.world, row.system), storage.parallel
    raise NotFound(f"{row.location} is in no store that a release file names", do="name that store in backup.storage")


def _encryption_of(ctx: Context, row: Backup) -> Encryption:
    """Return how a backup was encrypted, with the identity that belongs to one of those for whom it was."""
    recipients = set(row.proof.get("recipients", ()))
    for plan in _plans(ctx, row):
        if plan.encrypt is not None and recipients & set(plan.encrypt.recipients):
            return plan.encrypt
    raise NotFound(f"{row.location} is encrypted, and no release file names an identity", do="set backup.encrypt")


def _plans(ctx: Context, row: Backup) -> Iterator[Plan]:
    """Yield how a backup may be kept: as the release under way says, as its system's file does, as its release did."""
    if ctx.file.system == row.system:
        yield ctx.file.backup
    yield plan_of(ctx.ledger, ctx.settings, row)
    of = ctx.ledger.releases.get(row.release_id)
    yield loading.parse(of.file_text, of.file).backup


def _identity(ctx: Context, encryption: Encryption | None) -> str:
    return "" if encryption is None else ctx.world.secrets.resolve(encryption.identity)
