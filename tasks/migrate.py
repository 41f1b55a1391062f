"""The steps of the migration on production: only what was rehearsed, under a lock budget, verified afterwards."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tasks.acting import act, act_once, do_one
from tasks.checking import look_at, require
from tasks.context import Context, context_of
from tasks.domain.errors import RehearsalFailed
from tasks.ledger.models import Rehearsal
from tasks.ledger.releases import Claim
from tasks.rehearse import migrated, schema_digest
from tasks.rollouts import Step

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


@act_once
def migrate_production(claim: Claim) -> Mapping[str, Any]:
    """Apply the migration to production.

    Raises `LockNotGranted` once its tries for a lock are used up; what was applied before then stays on record.
    """
    ctx = context_of(claim)
    return do_one(ctx, PHASE, Step(MIGRATE_PRODUCTION, lambda: migrated(ctx.file.migration.upgrade(ctx.in_turn()))))


@act
def verify_schema(claim: Claim) -> Mapping[str, Any]:
    """Hold production's schema against the release file's checks and against what the rehearsal produced."""
    ctx = context_of(claim)

    def verify() -> Mapping[str, Any]:
        seen = look_at(ctx, PHASE, ctx.file.checks.migrate, ctx.target())
        require(seen, "production's schema after the migration")
        detail = rehearsal_of(ctx).detail
        rehearsed = detail["schema_sha256"]
        now = schema_digest(ctx, ctx.target().dsn, detail["schema_version"])
        if now != rehearsed:
            raise RehearsalFailed(
                f"production's schema has digest {now[:12]}",
                expected=f"{rehearsed[:12]}, as the rehearsal produced",
                do="compare pg_dump --schema-only of both; somebody changed production meanwhile",
            )
        return {"schema_sha256": now, "checks": len(seen)}

    return do_one(ctx, PHASE, Step("verify the schema", verify, mutates=False))


@act
def compare_with_rehearsal(claim: Claim, run: Mapping[str, Any]) -> Mapping[str, Any]:
    """Compare what the migration took on production with what the rehearsal foretold, and put it on record."""
    ctx = context_of(claim)

    def compare() -> Mapping[str, Any]:
        foretold = rehearsal_of(ctx).detail["upgrade"]
        return {
            "seconds": run["took"],
            "foretold_seconds": foretold["took"],
            "longest_lock": max((lock["held"] for lock in run["locks"]), default=0.0),
            "foretold_longest_lock": max((lock["held"] for lock in foretold["locks"]), default=0.0),
            "tries": run["tries"],
        }

    return do_one(ctx, PHASE, Step("compare with the rehearsal", compare, mutates=False))
