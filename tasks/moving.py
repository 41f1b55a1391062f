"""What moves in the database while a release is made and watched: counted before it, live, and at each look.

A count is a hint for people and decides nothing: where it cannot be made, that is on record, and nothing waits for it.
"""

from __future__ import annotations

from typing import Any

from tasks.context import Context
from tasks.domain import workload_counts
from tasks.domain.errors import GoliveError
from tasks.domain.messages import report_note
from tasks.domain.outcome import Outcome
from tasks.ledger.record import WORKLOAD
from tasks.reporting.facts import gather
from tasks.telling import about

_WITHIN = 5.0
"""Seconds that a count in production may take."""


def count_before(ctx: Context) -> None:
    """Put on record what was counted before the release."""
    _kept(ctx, before=True)


def count_now(ctx: Context) -> None:
    """Put on record what is counted at this moment."""
    _kept(ctx, before=False)


def moved_most(ctx: Context) -> list[str]:
    """Return a line for each thing that moved most against its baseline, as far as is on record; raises nothing."""
    try:
        return [str(one) for one in gather(ctx.ledger, ctx.release.id).moved]
    except GoliveError as error:
        ctx.world.progress(f"{ctx.release.id}: what moved is not known: {ctx.world.secrets.mask(str(error))}")
        return []


def tell_moved(ctx: Context) -> None:
    """Count now and tell people what moved most, if anything did; beside what is done about it, and raises nothing."""
    try:
        count_now(ctx)
        if lines := moved_most(ctx):
            ctx.ledger.releases.tell(ctx.release.id, report_note(about(ctx.release), "moved most", "\n".join(lines)))
    except Exception as error:  # noqa: BLE001 - in a thread of its own nobody hears of it, and it is only a hint
        ctx.world.progress(f"{ctx.release.id}: no hint: {ctx.world.secrets.mask(f'{type(error).__name__}: {error}')}")


def _kept(ctx: Context, *, before: bool) -> None:
    evidence = ctx.ledger.evidence
    found = _count(ctx)
    try:
        if before:
            evidence.baseline(ctx.release.id, WORKLOAD, found)
        else:
            evidence.looked(ctx.release.id, WORKLOAD, Outcome.PASSED, found)
    except GoliveError as error:
        ctx.world.progress(f"{ctx.release.id}: no count: {ctx.world.secrets.mask(str(error))}")


def _count(ctx: Context) -> dict[str, Any]:
    mask = ctx.world.secrets.mask
    try:
        with ctx.world.databases.session(ctx.target().dsn, read_only=True, statement_timeout=_WITHIN) as session:
            return workload_counts.count(session, mask)
    except GoliveError as error:
        why = {"why": mask(error.seen)}
        return {"statements": why, "tables": why, "traffic": why}
