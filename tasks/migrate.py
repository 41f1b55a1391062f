"""The steps of the migration on production: only what was rehearsed, under a lock budget, verified afterwards."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tasks.acting import act, act_once, do, do_one
from tasks.checking import look_at, require
from tasks.context import Context, context_of
from tasks.domain.counting import many
from tasks.domain.errors import RehearsalFailed
from tasks.domain.foretold import side_by_side
from tasks.domain.messages import Alert
from tasks.holding import held_back
from tasks.ledger.models import Rehearsal
from tasks.ledger.releases import Claim
from tasks.rehearsing import digest, migrated, schema_of
from tasks.rollouts import Step
from tasks.same_schema import what_differs
from tasks.telling import alert

PHASE = "migrate"
MIGRATE_PRODUCTION = "migrate production"


@act
def require_rehearsal(claim: Claim) -> str:
    """Refuse a migration that was not rehearsed exactly as it would run now, and return its way back."""
    return str(rehearsal_of(context_of(claim)).plan)


def rehearsal_of(ctx: Context) -> Rehearsal:
    """Return the rehearsal of exactly the migration that the release holds; raises `RehearsalFailed`."""
    fingerprint = ctx.file.migration.fingerprint(ctx.target())
    own = ctx.ledger.evidence.rehearsal(ctx.release.id)
    found = own or ctx.ledger.evidence.rehearsal_of(ctx.file.system, ctx.release.version, fingerprint)
    if found is None or found.fingerprint != fingerprint:
        raise RehearsalFailed(
            "this migration has not been rehearsed" if found is None else "the migration changed after its rehearsal",
            expected=f"a rehearsal of migration {fingerprint[:12]}",
            do="run the phases backup and rehearse, or a whole release",
        )
    return found


@act
def stop_ahead(claim: Claim) -> list[Mapping[str, Any]]:
    """Stop what serves before the schema changes, if the release file asks for that and anything is pending."""
    ctx = context_of(claim)
    version = ctx.release.version
    if not ctx.file.migration.stop or not ctx.file.migration.pending(ctx.target()):
        return []
    return do(ctx, PHASE, ctx.file.rollout.stop_ahead(ctx.site(version), version))


@act_once
def migrate_production(claim: Claim) -> Mapping[str, Any]:
    """Apply the migration to production, requests held back meanwhile if the release file says so.

    Raises `LockNotGranted` once its tries for a lock are used up; what was applied before then stays on record.
    """
    ctx = context_of(claim)
    pending = bool(ctx.file.migration.pause and ctx.file.migration.pending(ctx.target()))
    with held_back(ctx, PHASE, changes=pending) as migrator:
        return do_one(ctx, PHASE, Step(MIGRATE_PRODUCTION, lambda: migrated(migrator.upgrade(ctx.in_turn()))))


@act
def compare_with_rehearsal(claim: Claim, run: Mapping[str, Any]) -> Mapping[str, Any]:
    """Put what the migration took on production beside what the rehearsal foretold, and tell of a limit exceeded."""
    ctx = context_of(claim)

    def compare() -> Mapping[str, Any]:
        detail, limits = rehearsal_of(ctx).detail, ctx.file.migration.limits
        loaded = detail.get("under_load", {}).get("upgrade")
        rehearsed = [detail["upgrade"], *([loaded] if loaded else [])]
        found = side_by_side(run, rehearsed, duration=limits.duration, lock=limits.lock)
        if found["over_limit"]:
            _tell_of_excess(ctx, found, len(rehearsed))
        return found

    return do_one(ctx, PHASE, Step("compare with the rehearsal", compare, mutates=False))


def _tell_of_excess(ctx: Context, found: Mapping[str, Any], rehearsed: int) -> None:
    alert(
        ctx,
        Alert(
            title="the migration held production up for longer than it may",
            seen="; ".join(found["over_limit"]),
            limit="migration.limits of the release file, which the rehearsal kept",
            since=ctx.ledger.evidence.now(),
            next_act="go on: the migration is done and holds nothing any more",
            evidence=found["beyond_prediction"],
            counted=f"1 run on production, after {many(rehearsed, 'run')} in the rehearsal",
        ),
    )


@act
def verify_schema(claim: Claim) -> Mapping[str, Any]:
    """Hold production's schema against the release file's checks and against what the rehearsal produced.

    Raises `RehearsalFailed` with what differs.
    """
    ctx = context_of(claim)

    def verify() -> Mapping[str, Any]:
        seen = look_at(ctx, PHASE, ctx.file.checks.migrate, ctx.target())
        require(seen, "production's schema after the migration")
        detail = rehearsal_of(ctx).detail
        schema = schema_of(ctx, ctx.target().dsn, detail["schema_version"])
        now = digest(schema)
        if now != detail["schema_sha256"] and (
            other := what_differs(
                ctx, detail.get("schema"), schema, detail["schema_version"], ("rehearsed", "production")
            )
        ):
            raise RehearsalFailed(
                f"production's schema is not what the rehearsal produced:\n{other}",
                expected=f"the schema with digest {detail['schema_sha256'][:12]}; this one has {now[:12]}",
                do="see who changed production meanwhile, and rehearse again",
            )
        return {"schema_sha256": now, "checks": len(seen)}

    return do_one(ctx, PHASE, Step("verify the schema", verify, mutates=False))
