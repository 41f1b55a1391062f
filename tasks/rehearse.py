"""The steps of the rehearsal: on the restored copy, up, verify, down, compare, up; then each version against it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tasks import restore
from tasks.acting import act, act_once, do_one
from tasks.backup import backup_of
from tasks.both_versions import OLD, private_instance, run_both
from tasks.checking import record_each
from tasks.context import context_of
from tasks.domain.dropping import told
from tasks.domain.errors import GoliveError
from tasks.domain.outcome import Outcome
from tasks.domain.way_back import Plan, choose
from tasks.keeping import opened
from tasks.ledger.releases import Claim
from tasks.loss import counters_at, drop_of
from tasks.rehearsing import PHASE, up_down_up
from tasks.reviewing import reviewed
from tasks.rollouts import Step
from tasks.scratch import Scratch
from tasks.under_load import migrated_under_load


@act
def prepare_copy(claim: Claim) -> Mapping[str, Any]:
    """Make the rehearsal's database from the restored copy, restoring the proven backup again if the copy is gone."""
    ctx = context_of(claim)

    def prepare() -> Mapping[str, Any]:
        scratch = Scratch(ctx)
        restored_again = not scratch.is_restored()
        if restored_again:
            with opened(ctx, backup_of(ctx)) as taken:
                ctx.file.backup.copy_into(ctx.world, taken, scratch)
        if not ctx.file.backup.copies_files:
            scratch.analyse()
        began = ctx.world.clock.monotonic()
        scratch.clone()
        return {"restored_again": restored_again, "clone_seconds": ctx.world.clock.monotonic() - began}

    return do_one(ctx, PHASE, Step("copy the restored database", prepare, mutates=False))


@act
def review_migration(claim: Claim) -> Mapping[str, Any]:
    """Let Squawk read the SQL of the pending migration before it is run, and put what it finds on record.

    Raises `RehearsalFailed` for a rule that the release file refuses, and `Inconclusive` if one may be broken unseen.
    """
    ctx = context_of(claim)
    return do_one(ctx, PHASE, Step("review the migration's SQL", lambda: reviewed(ctx), mutates=False))


@act_once
def rehearse_under_load(claim: Claim) -> Mapping[str, Any]:
    """Migrate a copy while statements run on it, if the release file asks for that, and leave a fresh copy behind.

    Raises `RehearsalFailed` if what users would have waited for, or the migration, exceeds a limit.
    """
    ctx = context_of(claim)
    if ctx.file.rehearsal.under_load is None:
        return {}
    return do_one(ctx, PHASE, Step("migrate a copy under load", lambda: migrated_under_load(ctx), mutates=False))


@act_once
def record_alone(claim: Claim) -> Mapping[str, Any]:
    """Record on the copy, before it is migrated, what the version that serves does, for the checks that compare there.

    A version that does not run there leaves those checks without a baseline; that is told, and no error here.
    """
    ctx = context_of(claim)
    previous = ctx.release.previous_version
    comparing = [check for check in ctx.file.checks.rehearsal if check.compares]
    if previous is None or not comparing:
        return {}

    def record() -> Mapping[str, Any]:
        try:
            with private_instance(ctx, previous, OLD) as target:
                return {"recorded": sorted(record_each(ctx, comparing, target))}
        except GoliveError as error:
            return {"recorded": [], "why": ctx.world.secrets.mask(str(error))}

    return do_one(ctx, PHASE, Step("record what the old version does on the copy", record, mutates=False))


@act_once
def rehearse_migration(claim: Claim) -> Mapping[str, Any]:
    """Migrate the copy up, check its schema, take it down, compare with before, and migrate it up again.

    Raises `RehearsalFailed` if it takes longer, or locks a table for longer, than the release file permits.
    """
    ctx = context_of(claim)
    schema: list[str | None] = []

    def migrate() -> Mapping[str, Any]:
        found, text = up_down_up(ctx)
        schema.append(text)
        return found

    # The schema is long, and is put on record once, with the rehearsal.
    return {**do_one(ctx, PHASE, Step("migrate the copy up, down and up", migrate, mutates=False)), "schema": schema[0]}


@act
def rehearse_versions(claim: Claim) -> Mapping[str, Any]:
    """Run the old and the new version against the migrated copy, each on a private port, with the checks of both.

    Raises `ChecksFailed` or `RolloutFailed` if the new version does not hold, and `RehearsalFailed` if its start
    changes the schema; what the old one does goes into the plan.
    """
    ctx = context_of(claim)

    return do_one(ctx, PHASE, Step("run both versions on the migrated copy", lambda: run_both(ctx), mutates=False))


@act
def derive_way_back(
    claim: Claim,
    migration: Mapping[str, Any],
    versions: Mapping[str, Any],
    *,
    review: Mapping[str, Any],
    under_load: Mapping[str, Any],
) -> Plan:
    """Derive the way back from what was rehearsed, and put it on record with the evidence.

    Raises `RehearsalFailed` where that is the restore, and golive's role could not make the database for it.
    """
    ctx = context_of(claim)
    backup = backup_of(ctx)
    plan = choose(
        pending=[*migration["pending"], *filter(None, [versions.get("changed_at_start")])],
        old_on_new=Outcome(versions["old"]),
        down_exact=Outcome(migration["downgrade"]["exact"]),
        down_seconds=migration["downgrade"]["took"],
        restore_seconds=backup.proof["restore_seconds"],
        would_drop=told({drop_of(one).name: one["values"] for one in migration["downgrade"]["drops"]}),
    )
    if plan.loses_writes:
        do_one(
            ctx, PHASE, Step("see that a restore could be made", lambda: restore.require_possible(ctx), mutates=False)
        )
    limits = ctx.file.migration.limits
    detail = {
        **migration,
        "versions": dict(versions),
        "review": dict(review),
        "under_load": dict(under_load),
        "why": plan.why,
        "seconds": plan.seconds,
        "limits": {"duration": limits.duration, "lock": limits.lock},
        "counters": counters_at(ctx, backup),
    }
    ctx.ledger.evidence.rehearsed(ctx.release.id, migration["fingerprint"], plan.way, detail)
    return plan
