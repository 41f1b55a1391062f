"""The step that retires backups: beyond the number or the age to keep, and what killed ones have left behind."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any

from tasks.acting import act, do_one
from tasks.context import Context, context_of
from tasks.domain import archive
from tasks.domain.errors import NotFound, OutsideError, UserError
from tasks.domain.units import show_seconds
from tasks.keeping import backups_directory, is_stored, local_copy, names_on_record, remove, remove_stored, stored_names
from tasks.ledger.models import Backup
from tasks.ledger.releases import Claim
from tasks.rollouts import Step

_PHASE = "backup"
_LEFT_FOR = timedelta(days=1)


@act
def retire_old_backups(claim: Claim) -> Mapping[str, Any]:
    """Remove backups beyond the number or the age to keep, and what failed or killed ones left behind.

    Never the newest, nothing of a release that has not ended, nothing that a backup which stays builds upon, and
    nothing that this ledger knows no release for. What a store does not let be removed now is told, and stays until
    the next time.
    """
    ctx = context_of(claim)
    return do_one(ctx, _PHASE, Step("retire old backups", lambda: _retire(ctx), mutates=False))


def _retire(ctx: Context) -> Mapping[str, Any]:
    present = ctx.ledger.evidence.backups(ctx.file.system)
    removed, dropped, troubles = [], [], []
    built_upon: set[str] = set()
    built_upon_at_hand: set[str] = set()
    # From the newest on: whatever builds upon a backup is newer than that.
    for index, one in enumerate(present):
        name, needs = local_copy(one).name, one.proof.get("needs", ())
        needed = _is_needed(ctx, one)
        try:
            if (why := _why_retired(ctx, index, one)) and not needed and name not in built_upon:
                remove(ctx, one)
                ctx.ledger.evidence.removed_backup(one.id, why)
                removed.append(one.location)
                continue
            built_upon.update(needs)
            if name not in built_upon_at_hand and _may_leave_disk(ctx, index, one, needed=needed):
                if ctx.world.host.exists(local_copy(one)):
                    ctx.world.host.remove_tree(local_copy(one))
                    dropped.append(str(local_copy(one)))
            else:
                built_upon_at_hand.update(needs)
        except (OutsideError, UserError) as error:
            troubles.append(f"{one.location}: {error}")
    try:
        swept = _sweep(ctx)
    except (OutsideError, UserError) as error:
        swept = []
        troubles.append(f"what was left behind: {error}")
    told = {"kept": len(present) - len(removed), "removed": removed, "swept": swept + _remove_leftovers(ctx)}
    return told | ({"only_in_store": dropped} if dropped else {}) | ({"troubles": troubles} if troubles else {})


def _may_leave_disk(ctx: Context, index: int, one: Backup, *, needed: bool) -> bool:
    """Tell whether a backup that a store keeps need not be on the disk too."""
    plan = ctx.file.backup.storage
    return plan is not None and is_stored(one) and index >= plan.keep_local and not (needed and plan.keep_local)


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


def _sweep(ctx: Context) -> list[str]:
    """Remove the dumps of ended releases that no row names: never finished, or not proven; return their names."""
    directory, on_record = backups_directory(ctx), names_on_record(ctx)

    def lost(names: Iterable[str]) -> list[str]:
        return [name for name in names if name not in on_record and _has_ended(ctx, archive.release_of(name))]

    swept = lost(ctx.world.host.list(directory))
    for name in swept:
        ctx.world.host.remove_tree(directory / name)
    stored = lost(stored_names(ctx))
    remove_stored(ctx, stored)
    return sorted({*swept, *stored})


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
