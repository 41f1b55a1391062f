"""The steps of the health check: every check of the phase, beside the baseline that was taken before the release."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from tasks.acting import act
from tasks.checking import measure, record_each, require
from tasks.checks import Check
from tasks.context import Context, context_of
from tasks.domain.outcome import Measurement, Outcome
from tasks.domain.ports import Row
from tasks.ledger.releases import Claim
from tasks.moving import count_before

PHASE = "health"
SAMPLES = 480
"""How many probes make a baseline: bursts of 30 to 240 are later judged against them, so they must say more."""
AT_ONCE = 4


@act
def record_baselines(claim: Claim) -> dict[str, int]:
    """Record what the version that serves now does, and return the number of samples of each check.

    What the rehearsal compares is recorded there, where as little else is asked.
    """
    ctx = context_of(claim)
    if ctx.release.previous_version is None:
        return {}
    in_production = [check for phase, check in ctx.file.checks.every() if phase != "rehearsal"]
    counts = record_each(ctx, in_production, ctx.target(ctx.release.previous_version))
    count_before(ctx)
    if ctx.file.watch.probe is not None:
        counts |= _probe_baseline(ctx, ctx.file.check(ctx.file.watch.probe.check))
    return counts


def _probe_baseline(ctx: Context, check: Check) -> dict[str, int]:
    latencies = sample(ctx, check, SAMPLES, version=ctx.release.previous_version)
    ctx.ledger.evidence.baseline(ctx.release.id, check.name, {"latencies": latencies})
    return {check.name: len(latencies)}


def sample(ctx: Context, check: Check, count: int, version: str | None = None) -> list[float]:
    """Make one check ``count`` times, a few at once, and return the seconds that successful ones took."""
    target = ctx.target(version)
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="sample") as pool:
        seen = list(pool.map(lambda _: measure(check, target), range(count)))
    return [elapsed(one) for one in seen if one.outcome is Outcome.PASSED]


def elapsed(one: Measurement) -> float:
    """Return the seconds that the answer itself took, where the check says so, else the whole look."""
    found = one.reading.detail.get("elapsed")
    return float(found) if isinstance(found, int | float) else one.took


@act
def conclude(_claim: Claim, seen: Sequence[Measurement], where: str) -> Row:
    """Add up what the checks saw; raises `ChecksFailed` or `Inconclusive`, of health also if nothing was judged."""
    require(seen, where, needed=where == PHASE)
    return {"checks": len(seen), "passed": sum(one.outcome is Outcome.PASSED for one in seen)}
