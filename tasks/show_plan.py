"""The step that shows in Prefect's UI what a release is about to do."""

from __future__ import annotations

from collections.abc import Sequence

from tasks.acting import act_once
from tasks.context import context_of
from tasks.ledger.releases import Claim
from tasks.planning import Phase, plan_on_record
from tasks.reporting.plan import to_markdown
from tasks.showing import put_markdown, seen_by_nobody


@act_once
def show_plan(claim: Claim, phases: Sequence[Phase], back: Phase) -> None:
    """Put the plan of a release that has not touched production into Prefect's UI, as far as it is known by now."""
    ctx = context_of(claim)
    if seen_by_nobody() or ctx.release.mutation_started_at is not None:
        return
    try:
        plan = to_markdown(plan_on_record(ctx, phases, back))
    except Exception as error:  # noqa: BLE001 - it is there to be read: no release waits for it or fails by it
        ctx.world.progress(f"{ctx.release.id}: no plan: {ctx.world.secrets.mask(f'{type(error).__name__}: {error}')}")
        return
    put_markdown(f"{ctx.release.id}-plan", ctx.world.secrets.mask(plan), f"Plan of {ctx.release.id}")
