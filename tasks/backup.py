"""The steps of the backup: dump, restore, compare every table, put the proof on record, keep as many as agreed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tasks import archive
from tasks.acting import act, do_one
from tasks.context import Context, context_of
from tasks.domain.errors import GoliveError, NotFound
from tasks.domain.ports import Session
from tasks.fingerprint import fingerprint
from tasks.ledger.models import Backup
from tasks.ledger.releases import Claim
from tasks.rollouts import Step
from tasks.scratch import Scratch

PHASE = "backup"


def backups_directory(ctx: Context) -> Path:
    """Return where the system's backups are kept."""
    return ctx.place(ctx.file.backup.directory)


def room_for_backup(session: Session) -> int:
    """Return the bytes that a backup and its scratch copy may need.

    A dump is taken to need no more than the database itself, and the copy twice that while indexes are built.
    """
    return 3 * archive.database_size(session)


@act
def reckon_disk(claim: Claim) -> Mapping[str, Any]:
    """Reckon what the backup and its scratch copy take, and refuse if it does not fit."""
    ctx = context_of(claim)
    with ctx.world.databases.session(ctx.target().dsn, read_only=True) as session:
        needed = room_for_backup(session)
    directory = backups_directory(ctx)
    return do_one(
        ctx,
        PHASE,
        Step(
            "reckon the disk",
            lambda: archive.require_room(ctx.world, directory, needed, ctx.file.backup.headroom),
            mutates=False,
        ),
    )


@act
def dump_database(claim: Claim) -> str:
    """Dump production into a directory of its own, with a manifest, and return the directory."""
    ctx = context_of(claim)
    directory = backups_directory(ctx) / archive.name_for(ctx.release.id, ctx.world.clock.now())

    def dump() -> Mapping[str, Any]:
        _clear_unfinished(ctx)
        taken = archive.take(
            ctx.world,
            ctx.target().dsn,
            directory,
            jobs=ctx.file.backup.jobs,
            timeout=ctx.file.backup.timeout,
            about={"system": ctx.file.system, "release": ctx.release.id},
        )
        listed = ctx.world.pg_tools.archive_list(taken.dump, server_version=taken.manifest["server_version"])
        return {
            "location": str(directory),
            "bytes": taken.size,
            "tables": len(taken.tables),
            "rows": sum(one["rows"] for one in taken.tables.values()),
            "manifest_sha256": taken.digest,
            "entries": sum(not line.startswith(";") for line in listed.splitlines()),
        }

    do_one(ctx, PHASE, Step("dump", dump, mutates=False))
    return str(directory)


def _clear_unfinished(ctx: Context) -> None:
    """Remove what a process that was killed has left of earlier dumps for this release: whole ones too are unproven."""
    directory = backups_directory(ctx)
    proven = _on_record(ctx)
    for name in ctx.world.host.list(directory):
        if name.endswith(f"-{ctx.release.id}") and name not in proven:
            ctx.world.host.remove_tree(directory / name)


@act
def restore_copy(claim: Claim, location: str) -> Mapping[str, Any]:
    """Restore the backup into the scratch database, after holding every file against the manifest."""
    ctx = context_of(claim)

    def restore() -> Mapping[str, Any]:
        with _unproven_discarded(ctx, Path(location)):
            taken = archive.load(Path(location))
            Scratch(ctx).restore(taken, jobs=ctx.file.backup.jobs, timeout=ctx.file.backup.timeout)
        return {"location": location, "place": ctx.file.database.scratch.place}

    return do_one(ctx, PHASE, Step("restore into the scratch database", restore, mutates=False))


@act
def compare_copy(claim: Claim, location: str) -> Mapping[str, Any]:
    """Compare every table of the restored copy with what was dumped, and put the backup on record as proven.

    Raises `BackupNotProven` with the tables that differ.
    """
    ctx = context_of(claim)

    def compare() -> Mapping[str, Any]:
        with _unproven_discarded(ctx, Path(location)):
            taken = archive.load(Path(location))
            with ctx.world.databases.session(Scratch(ctx).dsn("restored"), read_only=True) as session:
                copy = fingerprint(session)
            archive.require_equal(taken, copy)
        number = ctx.ledger.evidence.backed_up(
            ctx.release.id,
            ctx.file.system,
            kind="dump",
            location=location,
            size=taken.size,
            took=_seconds(ctx, "dump"),
            proven=True,
            proof={
                "manifest_sha256": taken.digest,
                "tables": dict(taken.tables),
                "server_version": taken.manifest["server_version"],
                "tools": taken.manifest["tools"],
                "restore_seconds": _seconds(ctx, "restore into the scratch database"),
            },
        )
        return {"backup": number, "tables": len(copy), "rows": sum(one["rows"] for one in copy.values())}

    return do_one(ctx, PHASE, Step("compare every table", compare, mutates=False))


@contextmanager
def _unproven_discarded(ctx: Context, location: Path) -> Iterator[None]:
    """Remove a dump that the block does not prove, unless another try may, or it is all there is to look into."""
    try:
        yield
    except GoliveError as error:
        if error.retryable:
            raise
        others = [name for name in ctx.world.host.list(location.parent) if not name.startswith(".")]
        if others == [location.name]:
            error.seen += f"; the dump is kept in {location}, as the only one there is, but is no backup"
        elif location.name not in _on_record(ctx):
            ctx.world.host.remove_tree(location)
            error.seen += "; the dump was removed"
        raise


@act
def retire_old_backups(claim: Claim) -> Mapping[str, Any]:
    """Remove the oldest backups beyond the number to keep, and what failed or killed ones left behind.

    Nothing of a release that has not ended is removed, nor what this ledger knows no release for.
    """
    ctx = context_of(claim)

    def retire() -> Mapping[str, Any]:
        present = ctx.ledger.evidence.backups(ctx.file.system)
        removed = [one for one in present[ctx.file.backup.keep :] if not _is_needed(ctx, one)]
        for one in removed:
            ctx.world.host.remove_tree(Path(one.location))
            ctx.ledger.evidence.removed_backup(one.id, f"more than {ctx.file.backup.keep} are kept")
        gone = [one.location for one in removed]
        return {"kept": len(present) - len(removed), "removed": gone, "swept": _sweep(ctx)}

    return do_one(ctx, PHASE, Step("retire old backups", retire, mutates=False))


@contextmanager
def scratch_cleared(claim: Claim, *, unless: str = "") -> Iterator[None]:
    """Remove the scratch copy after the block, however that ends, ``unless`` it belongs to a release that goes on."""
    try:
        yield
    except BaseException:
        if not unless:
            with suppress(GoliveError):
                Scratch(context_of(claim)).remove()
        raise
    if not unless:
        remove_scratch(claim)


@act
def remove_scratch(claim: Claim) -> None:
    """Remove the scratch copy."""
    Scratch(context_of(claim)).remove()


def backup_of(ctx: Context) -> Backup:
    """Return the proven backup of the release; raises `NotFound`."""
    found = ctx.ledger.evidence.backup_of(ctx.release.id)
    if found is None:
        raise NotFound(f"no proven backup of {ctx.release.id}", do="run the phase backup first")
    return found


def _sweep(ctx: Context) -> list[str]:
    """Remove the dumps of ended releases that no row names: never finished, or not proven; return their names."""
    directory, on_record = backups_directory(ctx), _on_record(ctx)
    swept = [
        name
        for name in ctx.world.host.list(directory)
        if name not in on_record and _has_ended(ctx, archive.release_of(name))
    ]
    for name in swept:
        ctx.world.host.remove_tree(directory / name)
    return swept


def _on_record(ctx: Context) -> set[str]:
    return {Path(one.location).name for one in ctx.ledger.evidence.backups(ctx.file.system)}


def _has_ended(ctx: Context, release_id: str | None) -> bool:
    """Tell whether it is a release of this system that has ended; of another ledger's nothing is known here."""
    try:
        of = ctx.ledger.releases.get(release_id or "")
    except NotFound:
        return False
    return of.system == ctx.file.system and of.ended_at is not None


def _is_needed(ctx: Context, one: Backup) -> bool:
    of = ctx.ledger.releases.get(one.release_id)
    return of.ended_at is None


def _seconds(ctx: Context, step: str) -> float:
    took = [one.took for one in ctx.ledger.releases.steps(ctx.release.id) if one.name == step and one.event == "done"]
    return float(took[-1] or 0.0) if took else 0.0
