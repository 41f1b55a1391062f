"""Which checks a look of the watch makes besides those of every look: those of moments that have come."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from tasks.checking import look_at
from tasks.checks import Check
from tasks.context import Context
from tasks.domain.outcome import Measurement, Outcome
from tasks.ledger.models import Look


def make(ctx: Context, checks: Sequence[Check]) -> list[Measurement]:
    """Make checks against production, whichever phase each is of, and put what they saw on record under that phase."""
    phases = {check.name: phase for phase, check in ctx.file.checks.every()}
    seen: list[Measurement] = []
    for phase in dict.fromkeys(phases[check.name] for check in checks):
        seen += look_at(ctx, phase, [check for check in checks if phases[check.name] == phase], ctx.target())
    return seen


def moments_due(ctx: Context, looks: Sequence[Look], now: datetime) -> list[Check]:
    """Return the checks of moments that have come and that have not passed from then on."""
    live = ctx.release.live_at or now
    names = {
        name: None
        for after, names in sorted(ctx.file.watch.at.items())
        for name in names
        if (moment := live + timedelta(seconds=after)) <= now
        and not any(look.at >= moment and look.findings["checks"].get(name) == Outcome.PASSED for look in looks)
    }
    return [ctx.file.check(name) for name in names]


def moment_is_new(ctx: Context, looks: Sequence[Look], now: datetime) -> bool:
    """Tell whether a moment has come since the last look; what did not pass then waits for the next one."""
    live = ctx.release.live_at or now
    last = looks[-1].at if looks else None
    moments = [live + timedelta(seconds=after) for after, names in ctx.file.watch.at.items() if names]
    return any(moment <= now and (last is None or moment > last) for moment in moments)
