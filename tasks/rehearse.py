"""The steps of the rehearsal: on the restored copy, up, verify, down, compare, up; then each version against it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from typing import Any

from tasks import restore
from tasks.acting import act, act_once, do_one
from tasks.backup import backup_of
from tasks.checking import look_at, record_each, require
from tasks.context import Context, context_of
from tasks.domain.dropping import told
from tasks.domain.errors import GoliveError
from tasks.domain.outcome import Outcome, verdict
from tasks.domain.target import Target
from tasks.domain.way_back import Plan, choose
from tasks.everywhere import everywhere
from tasks.keeping import opened
from tasks.ledger.releases import Claim
from tasks.loss import counters_at, drop_of
from tasks.platforms import Instance
from tasks.rehearsing import PHASE, copy_of, up_down_up
from tasks.reviewing import reviewed
from tasks.rollouts import Place, Step
from tasks.scratch import REHEARSAL, Scratch
from tasks.sources import placed
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
            with _private_instance(ctx, previous, "rehearsal-old") as target:
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

    Raises `ChecksFailed` or `RolloutFailed` if the new version does not hold; what the old one does goes into the plan.
    """
    ctx = context_of(claim)

    def run() -> Mapping[str, Any]:
        with ThreadPoolExecutor(1, thread_name_prefix="old version") as beside:
            old = beside.submit(_run_old, ctx)
            return _run_new(ctx, old.result)

    return do_one(ctx, PHASE, Step("run both versions on the migrated copy", run, mutates=False))


def _run_new(ctx: Context, old: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Hold the new version to what every version must pass, and once the old one has ended to the rest."""
    version, checks = ctx.release.version, ctx.file.checks
    with _private_instance(ctx, version, "rehearsal-new") as target:
        require(
            look_at(ctx, f"{PHASE} new", checks.compatibility, target), f"{version} on the migrated copy", needed=True
        )
        found = old()
        require(look_at(ctx, "rehearsal", checks.rehearsal, target), f"{version} alone on the migrated copy")
        return found


def _run_old(ctx: Context) -> dict[str, Any]:
    """Return how the version that serves now does on the migrated copy; that it fails there is a finding, no error."""
    previous = ctx.release.previous_version
    if previous is None:
        return {"old": Outcome.UNKNOWN, "why": "no version was serving before"}
    if not ctx.file.checks.compatibility:
        return {"old": Outcome.UNKNOWN, "why": "the release file has no checks.compatibility"}
    try:
        with _private_instance(ctx, previous, "rehearsal-old") as target:
            seen = look_at(ctx, f"{PHASE} old", ctx.file.checks.compatibility, target)
    except GoliveError as error:
        return {"old": Outcome.FAILED, "why": ctx.world.secrets.mask(str(error))}
    failed = [one.check for one in seen if one.outcome is not Outcome.PASSED]
    return {"old": verdict(seen), "why": f"not passed: {', '.join(failed)}" if failed else f"{len(seen)} passed"}


@contextmanager
def _private_instance(ctx: Context, version: str, slot: str) -> Iterator[Target]:
    """Run a version against the copy on a port of its own, ready to be asked, until the block ends.

    Where the system has hosts it runs on the first of them, and is looked at from golive's own machine all the same.
    """
    site = ctx.site(version)
    host = site.target.world.host
    needed = dict(islice(ctx.targets(version).items(), 2))  # golive's own machine and the first host
    everywhere(needed, lambda one: _bring(ctx, one, version))
    port = host.free_port()
    with Scratch(ctx).lent_to(host, REHEARSAL) as copy, host.reach(port) as near:
        target = site.target.at(dsn=copy, port=port, slot=slot, base_url=f"http://127.0.0.1:{port}")
        instance = Instance(slot, version, target.release_dir, port, copy, background=False)
        try:
            ctx.file.platform.start(target, instance)
            ctx.file.rollout.wait_ready(site, Place(slot, port))
            first = {name: target for name in needed if name}
            yield ctx.target(version).at(
                dsn=copy_of(ctx).dsn, port=near, slot=slot, base_url=f"http://127.0.0.1:{near}", hosts=first
            )
        finally:
            ctx.file.platform.stop(target, slot)


def _bring(ctx: Context, target: Target, version: str) -> None:
    # What serves is taken as it was built then, whatever the release file builds now.
    if version == ctx.release.version or placed(target, version) is None:
        ctx.file.source.fetch(target, version)


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
        pending=migration["pending"],
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
