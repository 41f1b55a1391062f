"""The steps of the rehearsal: on the restored copy, up, verify, down, compare, up; then each version against it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from tasks.acting import act, act_once, do_one
from tasks.backup import backup_of
from tasks.checking import look_at, require
from tasks.context import Context, context_of
from tasks.domain.errors import GoliveError, RehearsalFailed
from tasks.domain.fingerprint import fingerprint
from tasks.domain.outcome import Outcome, verdict
from tasks.domain.target import Target
from tasks.domain.way_back import Plan, choose, differences
from tasks.keeping import opened
from tasks.ledger.releases import Claim
from tasks.migrators import Migrated, Migrator
from tasks.platforms import Instance
from tasks.rollouts import Step
from tasks.scratch import REHEARSAL, Scratch

PHASE = "rehearse"


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
        began = ctx.world.clock.monotonic()
        scratch.clone()
        return {"restored_again": restored_again, "clone_seconds": ctx.world.clock.monotonic() - began}

    return do_one(ctx, PHASE, Step("copy the restored database", prepare, mutates=False))


@act_once
def rehearse_migration(claim: Claim) -> Mapping[str, Any]:
    """Migrate the copy up, check its schema, take it down, compare with before, and migrate it up again.

    Raises `RehearsalFailed` if it takes longer, or locks a table for longer, than the release file permits.
    """
    ctx = context_of(claim)
    return do_one(ctx, PHASE, Step("migrate the copy up, down and up", lambda: _up_down_up(ctx), mutates=False))


def _up_down_up(ctx: Context) -> Mapping[str, Any]:
    migrator, target = ctx.file.migration, _copy(ctx)
    names = list(migrator.pending(target))
    before = _state_of(ctx, target)
    up = migrator.upgrade(target)
    require_within_limits(migrator, up)
    require(look_at(ctx, PHASE, ctx.file.checks.migrate, target), "the schema after the migration, on the copy")
    after = _state_of(ctx, target)
    down = _down_and_compare(migrator, target, names, before, ctx)
    if down["applied"]:
        down["copied_anew"] = _up_again(ctx, target, after, exact=down["exact"] is Outcome.PASSED)
    return {
        "pending": names,
        "fingerprint": migrator.fingerprint(target),
        "upgrade": migrated(up),
        "downgrade": down,
        "schema_sha256": after["schema"],
        "schema_version": after["version"],
        "changed_tables": differences(before["tables"], after["tables"]),
    }


def _up_again(ctx: Context, target: Target, after: Mapping[str, Any], *, exact: bool) -> bool:
    """Bring the copy to the schema that production will get, and tell whether that took a new copy.

    What a way down that failed or was inexact has left must not decide what the two versions then run against.
    """
    if exact:
        ctx.file.migration.upgrade(target)
        if schema_digest(ctx, target.dsn, after["version"]) == after["schema"]:
            return False
    Scratch(ctx).clone()
    ctx.file.migration.upgrade(target)
    return True


def _down_and_compare(
    migrator: Migrator, target: Target, names: list[str], before: Mapping[str, Any], ctx: Context
) -> dict[str, Any]:
    if not names:
        return {"exact": Outcome.PASSED, "seen": "nothing to take back", "applied": False, "took": 0.0}
    if not migrator.may_roll_back or not migrator.can_downgrade(target):
        return {"exact": Outcome.UNKNOWN, "seen": "there is no way down", "applied": False, "took": 0.0}
    try:
        down = migrator.downgrade(target, names)
    except GoliveError as error:
        # A way down that fails is a fact about the release, not about the rehearsal: the plan then is another one.
        seen = ctx.world.secrets.mask(str(error))
        return {"exact": Outcome.FAILED, "seen": seen, "applied": True, "took": 0.0}
    now = _state_of(ctx, target)
    wrong = differences(before["tables"], now["tables"])
    if now["schema"] != before["schema"]:
        wrong = ["the schema", *wrong]
    seen = f"differs from before: {', '.join(wrong[:5])}" if wrong else "equal to before"
    exact = Outcome.FAILED if wrong else Outcome.PASSED
    return {"exact": exact, "seen": seen, "applied": True, "took": down.took}


@act
def rehearse_versions(claim: Claim) -> Mapping[str, Any]:
    """Run the old and the new version against the migrated copy, each on a private port, with the checks of both.

    Raises `ChecksFailed` or `RolloutFailed` if the new version does not hold; what the old one does goes into the plan.
    """
    ctx = context_of(claim)

    def run() -> Mapping[str, Any]:
        with ThreadPoolExecutor(1, thread_name_prefix="old version") as beside:
            old = beside.submit(_run_old, ctx)
            new = _run_version(ctx, ctx.release.version, "new")
            require(new, f"{ctx.release.version} on the migrated copy", needed=True)
            return old.result()

    return do_one(ctx, PHASE, Step("run both versions on the migrated copy", run, mutates=False))


def _run_old(ctx: Context) -> dict[str, Any]:
    """Return how the version that serves now does on the migrated copy; that it fails there is a finding, no error."""
    previous = ctx.release.previous_version
    if previous is None:
        return {"old": Outcome.UNKNOWN, "why": "no version was serving before"}
    if not ctx.file.checks.compatibility:
        return {"old": Outcome.UNKNOWN, "why": "the release file has no checks.compatibility"}
    try:
        seen = _run_version(ctx, previous, "old")
    except GoliveError as error:
        return {"old": Outcome.FAILED, "why": ctx.world.secrets.mask(str(error))}
    failed = [one.check for one in seen if one.outcome is not Outcome.PASSED]
    return {"old": verdict(seen), "why": f"not passed: {', '.join(failed)}" if failed else f"{len(seen)} passed"}


def _run_version(ctx: Context, version: str, who: str) -> list[Any]:
    with _private_instance(ctx, version, f"rehearsal-{who}") as target:
        return look_at(ctx, f"{PHASE} {who}", ctx.file.checks.compatibility, target)


@contextmanager
def _private_instance(ctx: Context, version: str, slot: str) -> Iterator[Target]:
    """Run a version against the migrated copy on a port of its own, ready to be asked, until the block ends."""
    site, port = ctx.site(version), ctx.world.host.free_port()
    copy = Scratch(ctx).application_dsn(REHEARSAL)
    target = site.target.at(dsn=copy, port=port, base_url=f"http://127.0.0.1:{port}")
    ctx.file.source.fetch(ctx.target(version), version)
    instance = Instance(slot, version, site.release_dir, port, copy, background=False)
    try:
        ctx.file.platform.start(target, instance)
        ctx.file.rollout.wait_ready(site, slot, port)
        yield target.at(dsn=_copy(ctx).dsn)
    finally:
        ctx.file.platform.stop(target, slot)


@act
def derive_way_back(claim: Claim, migration: Mapping[str, Any], versions: Mapping[str, Any]) -> Plan:
    """Derive the way back from what was rehearsed, and put it on record with the evidence."""
    ctx = context_of(claim)
    plan = choose(
        pending=migration["pending"],
        old_on_new=Outcome(versions["old"]),
        down_exact=Outcome(migration["downgrade"]["exact"]),
        down_seconds=migration["downgrade"]["took"],
        restore_seconds=backup_of(ctx).proof["restore_seconds"],
    )
    limits = ctx.file.migration.limits
    detail = {
        **migration,
        "versions": dict(versions),
        "why": plan.why,
        "seconds": plan.seconds,
        "limits": {"duration": limits.duration, "lock": limits.lock},
    }
    ctx.ledger.evidence.rehearsed(ctx.release.id, migration["fingerprint"], plan.way, detail)
    return plan


def require_within_limits(migrator: Migrator, run: Migrated) -> None:
    """Raise `RehearsalFailed` if a migration took, or locked a table for, longer than the release file permits."""
    limits = migrator.limits
    if run.took > limits.duration:
        raise RehearsalFailed(
            f"the migration took {run.took:.1f} s",
            expected=f"at most {limits.duration:g} s",
            do="make it smaller, or raise migration.limits.duration",
        )
    over = [lock for lock in run.locks if lock.held > limits.lock]
    if over:
        worst = max(over, key=lambda lock: lock.held)
        raise RehearsalFailed(
            f"{worst.relation} was locked in {worst.mode} for {worst.held:.1f} s",
            expected=f"at most {limits.lock:g} s for any table",
            do="do it in steps that lock briefly, or raise migration.limits.lock",
        )


def migrated(run: Migrated) -> dict[str, Any]:
    """Return what a migrator did in a form that JSON can hold."""
    return {**asdict(run), "locks": [asdict(lock) for lock in run.locks]}


def schema_digest(ctx: Context, dsn: str, version: int) -> str:
    """Return the SHA-256 of a database's schema as pg_dump for a server of ``version`` words it.

    That wording changes with pg_dump's version, so both sides of a comparison must be given the same one.
    """
    return hashlib.sha256(ctx.world.pg_tools.schema(dsn, server_version=version).encode()).hexdigest()


def _state_of(ctx: Context, target: Target) -> dict[str, Any]:
    with ctx.world.databases.session(target.dsn, read_only=True) as session:
        tables = fingerprint(session)
        # The copy's server is never older than production's, so its pg_dump can read both.
        version = session.server_version
    return {"schema": schema_digest(ctx, target.dsn, version), "version": version, "tables": tables}


def _copy(ctx: Context) -> Target:
    return ctx.target().at(dsn=Scratch(ctx).dsn(REHEARSAL))
