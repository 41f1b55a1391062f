"""The steps of the backup: take, copy, compare every table, put the proof on record, keep as many as agreed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

from tasks.acting import act, do_one
from tasks.context import Context, context_of
from tasks.domain import archive
from tasks.domain.errors import GoliveError, NotFound
from tasks.domain.units import show_seconds
from tasks.ledger.models import Backup
from tasks.ledger.releases import Claim
from tasks.rollouts import Step
from tasks.scratch import Scratch

PHASE = "backup"
TAKE = "take the backup"
COPY = "restore into the scratch database"
_LEFT_FOR = timedelta(days=1)


def backups_directory(ctx: Context) -> Path:
    """Return where the system's backups are kept."""
    return ctx.place(ctx.file.backup.directory)


@act
def reckon_disk(claim: Claim) -> Mapping[str, Any]:
    """Reckon what the backup and its scratch copy take, and refuse if it does not fit or cannot be made at all."""
    ctx = context_of(claim)
    plan, dsn = ctx.file.backup, ctx.target().dsn

    def reckon() -> Mapping[str, Any]:
        plan.require_possible(ctx.world, dsn, Scratch(ctx))
        needed = plan.room(ctx.world, dsn)
        return archive.require_room(ctx.world, backups_directory(ctx), needed, plan.headroom)

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
            taken = ctx.file.backup.take(ctx.world, ctx.target().dsn, directory, about, _proven(ctx))
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


def _proven(ctx: Context) -> list[Path]:
    """Return where proven backups of the kind lie, the newest first."""
    rows = ctx.ledger.evidence.backups(ctx.file.system)
    return [Path(one.location) for one in rows if one.proven and one.kind == ctx.file.backup.kind]


def _clear_unfinished(ctx: Context) -> None:
    """Remove what a process that was killed has left of earlier dumps for this release: whole ones too are unproven."""
    directory = backups_directory(ctx)
    proven = _on_record(ctx)
    for name in ctx.world.host.list(directory):
        if name.endswith(f"-{ctx.release.id}") and name not in proven:
            ctx.world.host.remove_tree(directory / name)


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
    """Compare every table of the copy with what was backed up, and put the backup on record as proven.

    Raises `BackupNotProven` with the tables that differ.
    """
    ctx = context_of(claim)

    def compare() -> Mapping[str, Any]:
        with _advised(), _unproven_discarded(ctx, Path(location)):
            taken = _taken(ctx, location)
            copy, live = Scratch(ctx).dsn("restored"), ctx.target().dsn
            proof = dict(ctx.file.backup.prove(ctx.world, taken, copy, live))
            proof |= {"needs": ctx.file.backup.needs(taken), **ctx.file.backup.examine(ctx.world, copy, Scratch(ctx))}
        number = ctx.ledger.evidence.backed_up(
            ctx.release.id,
            ctx.file.system,
            kind=ctx.file.backup.kind,
            location=location,
            size=taken.size,
            took=_seconds(ctx, TAKE),
            proven=True,
            proof={
                "manifest_sha256": taken.digest,
                "server_version": taken.server_version,
                "tools": taken.manifest["tools"],
                "restore_seconds": _seconds(ctx, COPY),
                **proof,
            },
        )
        tables = proof["tables"]
        return {"backup": number, "tables": len(tables), "rows": sum(one["rows"] for one in tables.values())}

    return do_one(ctx, PHASE, Step("compare every table", compare, mutates=False))


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
        elif location.name not in _on_record(ctx):
            ctx.world.host.remove_tree(location)
            error.seen += "; the dump was removed"
        raise


@act
def retire_old_backups(claim: Claim) -> Mapping[str, Any]:
    """Remove backups beyond the number or the age to keep, and what failed or killed ones left behind.

    Never the newest, nothing of a release that has not ended, nothing that a backup which stays builds upon, and
    nothing that this ledger knows no release for.
    """
    ctx = context_of(claim)

    def retire() -> Mapping[str, Any]:
        present = ctx.ledger.evidence.backups(ctx.file.system)
        removed: list[str] = []
        needed: set[str] = set()
        # From the newest on: whatever builds upon a backup is newer than that.
        for index, one in enumerate(present):
            why = _why_retired(ctx, index, one)
            if not why or _is_needed(ctx, one) or Path(one.location).name in needed:
                needed.update(one.proof.get("needs", ()))
            else:
                ctx.world.host.remove_tree(Path(one.location))
                ctx.ledger.evidence.removed_backup(one.id, why)
                removed.append(one.location)
        return {"kept": len(present) - len(removed), "removed": removed, "swept": _sweep(ctx) + _remove_leftovers(ctx)}

    return do_one(ctx, PHASE, Step("retire old backups", retire, mutates=False))


def _why_retired(ctx: Context, index: int, one: Backup) -> str:
    plan = ctx.file.backup
    if index >= plan.keep:
        return f"more than {plan.keep} are kept"
    age = (ctx.world.clock.now() - one.at).total_seconds()
    if index and plan.keep_for is not None and age > plan.keep_for:
        return f"older than {show_seconds(plan.keep_for)}"
    return ""


def _remove_leftovers(ctx: Context) -> list[str]:
    host, directory = ctx.world.host, backups_directory(ctx)
    # What is older than any backup may take is nobody's work any more.
    age = max(_LEFT_FOR, timedelta(seconds=2 * ctx.file.backup.timeout))
    found = archive.leftovers(host.list(directory), ctx.world.clock.now(), age)
    for name in found:
        host.remove_tree(directory / name)
    return found


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
