"""The review of the pending migration's SQL, before any of it is run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tasks.checks import squawk
from tasks.context import Context
from tasks.domain.errors import GoliveError, Inconclusive, RehearsalFailed
from tasks.domain.outcome import Measurement, Outcome, Reading, unknown
from tasks.domain.target import Target
from tasks.migrators import SqlText
from tasks.rehearsing import PHASE, copy_of

NAME = "review of the migration's SQL"


def reviewed(ctx: Context) -> dict[str, Any]:
    """Return what Squawk finds in the SQL of what is pending, and put it on record.

    Raises `RehearsalFailed` for a finding of a rule that the release file refuses, `Inconclusive` if it refuses rules
    and the SQL could not be reviewed.
    """
    clock, plan, target = ctx.world.clock, ctx.file.rehearsal.review, copy_of(ctx)
    at, began = clock.now(), clock.monotonic()
    names = ctx.file.migration.pending(target)
    if not names:
        return {"outcome": Outcome.PASSED, "seen": "nothing is pending", "findings": []}
    reading = _reading(ctx, target, names)
    one = Measurement(NAME, "squawk", reading, at, clock.monotonic() - began, advisory=not plan.refuse)
    ctx.ledger.evidence.measured(ctx.release.id, PHASE, [one])
    if plan.refuse and reading.outcome is not Outcome.PASSED:
        kind = RehearsalFailed if reading.outcome is Outcome.FAILED else Inconclusive
        raise kind(
            reading.seen,
            expected=f"no finding of {', '.join(plan.refuse)}",
            do="write the safer form, or take the rule out of rehearsal.review.refuse",
        )
    return {"outcome": reading.outcome, "seen": reading.seen, "findings": reading.detail.get("findings", [])}


def _reading(ctx: Context, target: Target, names: Sequence[str]) -> Reading:
    plan = ctx.file.rehearsal.review
    try:
        texts = ctx.file.migration.sql_of(target, names)
        if not texts:
            return unknown(f"the SQL of a migration of kind {ctx.file.migration.kind} is not to be had")
        found = [finding for text in texts for finding in _findings(ctx, target, text)]
    except GoliveError as error:
        return unknown(ctx.world.secrets.mask(f"{error.id}: {error}"))
    refused = [one for one in found if one["refused"]]
    texts_read = "1 text" if len(texts) == 1 else f"{len(texts)} texts"
    counted = f"{len(refused)} findings refused, {len(found) - len(refused)} only told, in {texts_read}"
    said = "; ".join(squawk.shown(one) for one in (refused or found)[:5])
    more = len(refused or found) - 5
    return Reading(
        Outcome.FAILED if refused else Outcome.PASSED,
        f"{counted}: {said}" + (f"; and {more} more" if more > 0 else "") if said else counted,
        value=len(refused),
        unit="findings",
        limit=0,
        detail={"refuse": list(plan.refuse), "findings": found[: squawk.MOST_KEPT]},
    )


def _findings(ctx: Context, target: Target, text: SqlText) -> list[Mapping[str, Any]]:
    plan = ctx.file.rehearsal.review
    found = squawk.review(
        target, text.name, text.text, ignore=plan.ignore, in_transaction=text.in_transaction, program=plan.program
    )
    return [{**one, "refused": one["rule"] in plan.refuse} for one in found]
