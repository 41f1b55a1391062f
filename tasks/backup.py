"""The steps of the backup: take, copy, compare every table, keep it with its proof on record, retire old ones."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tasks.acting import act, do_one
from tasks.context import Context, context_of
from tasks.domain import archive
from tasks.domain.errors import GoliveError, NotFound
from tasks.domain.room import require_room
from tasks.keeping import (
    backups_directory,
    keep,
    names_on_record,
    readable_copies,
    remove_stored,
    require_keepable,
    stored_names,
)
from tasks.ledger.models import Backup
from tasks.ledger.releases import Claim
from tasks.reckoning import room_needed
from tasks.rollouts import Step
from tasks.scratch import Scratch

PHASE = "backup"
TAKE = "take the backup"
COPY = "restore into the scratch database"


@act
def reckon_disk(claim: Claim) -> Mapping[str, Any]:
    """Reckon what the backup and its copies take on each disk; refuse what does not fit or cannot be made at all."""
    ctx = context_of(claim)
    plan, dsn = ctx.file.backup, ctx.target().dsn

    def reckon() -> Mapping[str, Any]:
        plan.require_possible(ctx.world, dsn, Scratch(ctx))
        require_keepable(ctx)
        needed = room_needed(ctx.world, ctx.file, ctx.settings, dsn)
        disks = {path: require_room(ctx.world, path, size, plan.headroom) for path, size in needed.items()}
        first, *others = disks
        return {**disks[first], **({"other_disks": {str(path): disks[path] for path in others}} if others else {})}

    return do_one(ctx, PHASE, Step("reckon the disk", reckon, mutates=False))


@act
def take_backup(claim: Claim) -> str:
    """Back production up into a directory of its own, with a manifest, and return the directory."""
    ctx = context_of(claim)
    directory = backups_directory(ctx) / archive.name_for(ctx.release.id, ctx.world.clock.now())

    def take() -> Mapping[str, Any]:
        _clear_unfinished(ctx)
        about = {"system": ctx.file.system, "release": ctx.release.id}
        with _advised():
            taken = ctx.file.backup.take(ctx.world, ctx.target().dsn, directory, about, readable_copies(ctx))
        return {
            "kind": ctx.file.backup.kind,
            "location": str(directory),
            "bytes": taken.size,
            "tables": len(taken.tables),
            "rows": sum(one["rows"] for one in taken.tables.values()),
            "manifest_sha256": taken.digest,
            **ctx.file.backup.verify(ctx.world, taken),
        }

    do_one(ctx, PHASE, Step(TAKE, take, mutates=False))
    return str(directory)


def _clear_unfinished(ctx: Context) -> None:
    """Remove what a process that was killed has left of earlier dumps for this release: whole ones too are unproven."""
    directory = backups_directory(ctx)
    proven = names_on_record(ctx)

    def unproven(names: Iterable[str]) -> list[str]:
        return [name for name in names if name.endswith(f"-{ctx.release.id}") and name not in proven]

    for name in unproven(ctx.world.host.list(directory)):
        ctx.world.host.remove_tree(directory / name)
    remove_stored(ctx, unproven(stored_names(ctx)))


@act
def restore_copy(claim: Claim, location: str) -> Mapping[str, Any]:
    """Make the scratch copy from the backup, after holding every file against the manifest."""
    ctx = context_of(claim)

    def restore() -> Mapping[str, Any]:
        with _advised(), _unproven_discarded(ctx, Path(location)):
            taken = _taken(ctx, location)
            ctx.file.backup.copy_into(ctx.world, taken, Scratch(ctx))
        return {"location": location, "place": ctx.file.database.scratch.place}

    return do_one(ctx, PHASE, Step(COPY, restore, mutates=False))


@act
def compare_copy(claim: Claim, location: str) -> Mapping[str, Any]:
    """Compare every table of the copy with what was backed up, and return the proof.

    Raises `BackupNotProven` with the tables that differ.
    """
    ctx = context_of(claim)
    proof: dict[str, Any] = {}

    def compare() -> Mapping[str, Any]:
        with _advised(), _unproven_discarded(ctx, Path(location)):
            taken = _taken(ctx, location)
            copy, live = Scratch(ctx).dsn("restored"), ctx.target().dsn
            proof.update(
                {
                    "manifest_sha256": taken.digest,
                    "server_version": taken.server_version,
                    "tools": taken.manifest["tools"],
                    "restore_seconds": _seconds(ctx, COPY),
                    **ctx.file.backup.prove(ctx.world, taken, copy, live),
                    "needs": ctx.file.backup.needs(taken),
                    **ctx.file.backup.examine(ctx.world, copy, Scratch(ctx)),
                }
            )
        tables, locale = proof["tables"], {"locale": proof["locale"]} if "locale" in proof else {}
        return {"tables": len(tables), "rows": sum(one["rows"] for one in tables.values()), **locale}

    do_one(ctx, PHASE, Step("compare every table", compare, mutates=False))
    return proof


@act
def keep_backup(claim: Claim, location: str, proof: Mapping[str, Any]) -> str:
    """Encrypt the backup and copy it to its store, as far as the release file says so, and put it on record as proven.

    Returns where it is kept. Raises `BackupNotProven` unless what is kept there is just what was proven.
    """
    ctx = context_of(claim)

    def keep_it() -> Mapping[str, Any]:
        with _unproven_discarded(ctx, Path(location)):
            kept, told = keep(ctx, Path(location), proof["manifest_sha256"])
        at = str(told.get("store", location))
        number = ctx.ledger.evidence.backed_up(
            ctx.release.id,
            ctx.file.system,
            kind=ctx.file.backup.kind,
            location=at,
            size=kept.size,
            took=_seconds(ctx, TAKE),
            proven=True,
            proof={**proof, **told},
        )
        return {"backup": number, "location": at, **told}

    return str(do_one(ctx, PHASE, Step("keep the backup", keep_it, mutates=False))["location"])


def _taken(ctx: Context, location: str) -> archive.Archive:
    """Return the backup that this release took; raises `BackupNotProven` if another one lies in its place."""
    took = [one.detail for one in ctx.ledger.releases.steps(ctx.release.id) if one.name == TAKE and one.event == "done"]
    digests = {one["location"]: one["manifest_sha256"] for one in took}
    return archive.load(Path(location), digest=digests.get(location, "nothing"))


@contextmanager
def _advised() -> Iterator[None]:
    """Tell what to do where a tool, which knows nothing of releases, failed in the block without saying so."""
    try:
        yield
    except GoliveError as error:
        error.do = error.do or "mend what is said there and take a new backup; nothing in production was changed"
        raise


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
        elif location.name not in names_on_record(ctx):
            ctx.world.host.remove_tree(location)
            remove_stored(ctx, [location.name])
            error.seen += "; the dump was removed"
        raise


@contextmanager
def scratch_cleared(claim: Claim, *, unless: str = "") -> Iterator[None]:
    """Remove the scratch copy after the block, however that ends, ``unless`` it belongs to a release that goes on."""
    try:
        yield
        if not unless:
            remove_scratch(claim)
    except BaseException:
        if not unless:
            with suppress(GoliveError):
                Scratch(context_of(claim)).remove()
        raise


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


def _seconds(ctx: Context, step: str) -> float:
    took = [one.took for one in ctx.ledger.releases.steps(ctx.release.id) if one.name == step and one.event == "done"]
    return float(took[-1] or 0.0) if took else 0.0
