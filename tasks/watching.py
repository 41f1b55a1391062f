"""How a release under watch is judged: from probes, bursts and checks to findings, and what follows from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any

from tasks.checking import measure, measure_all
from tasks.checks import Check
from tasks.context import Context, context_of, holder, ledger
from tasks.domain.errors import GoliveError
from tasks.domain.outcome import Outcome
from tasks.domain.release import MUTATING, State
from tasks.domain.target import Target
from tasks.domain.triggers import Alarm, Corruption, Down, Errors, Finding, Probe, Slower, judge, reach
from tasks.health import elapsed, sample
from tasks.ledger import models
from tasks.ledger.models import Release
from tasks.ledger.releases import Claim
from tasks.settings import Settings

BURST = 30
"""How many probes the monitor makes at once to judge slowness."""
CONFIRMATIONS = 3
"""How many probes must all fail, just before acting, for an outage to count as still there."""


@dataclass(frozen=True)
class Watched:
    """A release under watch, seen by a process that does not drive it."""

    ctx: Context

    @property
    def release(self) -> Release:
        """The release as the ledger has it."""
        return self.ctx.release

    @cached_property
    def target(self) -> Target:
        """Production, with the baselines of the release."""
        return self.ctx.target()

    @cached_property
    def probe(self) -> Check | None:
        """The check that the guard makes, given up within one interval."""
        plan = self.ctx.file.watch.probe
        if plan is None:
            return None
        check = self.ctx.file.check(plan.check)
        return check.model_copy(update={"timeout": min(check.timeout, plan.every)})

    @property
    def interval(self) -> float:
        """Seconds between two probes of the guard."""
        plan = self.ctx.file.watch.probe
        return float(plan.every) if plan is not None else float(self.ctx.file.watch.every)


def observe(row: Release) -> Watched:
    """Return a release as something to look at, without taking it over."""
    return Watched(context_of(Claim(row.id, row.epoch, holder())))


def under_watch(*, settings: Settings | None = None) -> list[Release]:
    """Return the releases whose triggers are armed: all that may have changed production and have not ended."""
    book = ledger(settings or Settings.from_environment())
    return [row for row in book.releases.in_state(*MUTATING) if row.mutation_started_at is not None]


def as_probe(row: models.Probe) -> Probe:
    """Return a probe from the ledger as the judging sees it."""
    return Probe(
        at=row.at,
        outcome=Outcome(row.outcome),
        elapsed=row.elapsed,
        control=Outcome(row.control) if row.control is not None else None,
        source=row.source,
    )


def take_probe(watched: Watched) -> Probe:
    """Probe the target once, and on a failure something else too, so that it is not blamed for our own trouble."""
    ctx, check = watched.ctx, watched.probe
    if check is None:
        raise LookupError("the release file has no watch.probe")
    seen = measure(check, watched.target, tries=1)
    control = None
    plan = ctx.file.watch.probe
    if seen.outcome is not Outcome.PASSED and plan is not None and plan.control is not None:
        control = _control(ctx, plan.control)
    return Probe(seen.at, seen.outcome, elapsed(seen), control, check.name)


def _control(ctx: Context, url: str) -> Outcome:
    try:
        ctx.world.http.request("GET", url, timeout=5.0, fresh=True)
    except GoliveError:
        return Outcome.FAILED
    return Outcome.PASSED


def judge_probes(watched: Watched, probes: Sequence[Probe], now: datetime) -> list[Finding]:
    """Return what the triggers that live on probes say."""
    return [
        judge(trigger, probes, now, watched.interval)
        for trigger in watched.ctx.file.rollback.when
        if isinstance(trigger, Down | Errors)
    ]


def window_of(watched: Watched) -> float:
    """Return how many seconds of probes must be kept to judge all triggers."""
    spans = [reach(trigger, watched.interval) for trigger in watched.ctx.file.rollback.when]
    return max(spans, default=0.0) + watched.interval


def confirmed(watched: Watched, finding: Finding) -> bool:
    """Probe anew just before acting: an outage that is over by now is not acted on; other findings stand."""
    if finding.kind != "down":
        return True
    return all(take_probe(watched).counted is Outcome.FAILED for _ in range(CONFIRMATIONS))


def judge_burst(watched: Watched, previous: Finding | None) -> Finding | None:
    """Return whether a burst of probes is slower than before the release, or None if nobody asked for that."""
    triggers = [one for one in watched.ctx.file.rollback.when if isinstance(one, Slower)]
    check = watched.probe
    if not triggers or check is None:
        return None
    baseline = watched.ctx.ledger.evidence.baselines(watched.release.id).get(check.name, {})
    now = watched.ctx.world.clock.now()
    burst = [Probe(now, Outcome.PASSED, one) for one in sample(watched.ctx, check, BURST)]
    return judge(triggers[0], burst, now, watched.interval, baseline=baseline.get("latencies", ()), previous=previous)


def judge_corruption(watched: Watched) -> Finding | None:
    """Make the integrity checks, each failing one twice on fresh connections, or return None if there are none."""
    checks = watched.ctx.file.checks.corruption
    triggers = [one for one in watched.ctx.file.rollback.when if isinstance(one, Corruption)]
    if not checks or not triggers:
        return None
    target, evidence = watched.ctx.target(), watched.ctx.ledger.evidence
    first = measure_all(checks, target)
    again = measure_all(
        [check for check, seen in zip(checks, first, strict=True) if seen.outcome is Outcome.FAILED], target
    )
    evidence.measured(watched.release.id, "corruption", [*first, *again])
    probes = [Probe(one.at, one.outcome, one.took, None, one.check) for one in [*first, *again]]
    return judge(triggers[0], probes, watched.ctx.world.clock.now(), watched.interval)


def judge_checks(watched: Watched, seen: Mapping[str, Outcome], before: Mapping[str, str]) -> list[Finding]:
    """Return what the checks with ``rollback: true`` say: two failures in a row fire."""
    findings = []
    for check in watched.ctx.file.checks.watch:
        if check.rollback and seen.get(check.name) is Outcome.FAILED:
            again = before.get(check.name) == Outcome.FAILED
            state = Alarm.FIRES if again else Alarm.SUSPICIOUS
            findings.append(Finding("check", state, f"{check.name} failed{' twice running' if again else ''}"))
    return findings


def to_json(finding: Finding) -> dict[str, Any]:
    """Return a finding in a form that JSON can hold."""
    return {**asdict(finding), "state": finding.state.value}


def from_json(found: Mapping[str, Any]) -> Finding:
    """Return a finding that `to_json` wrote."""
    return Finding(found["kind"], Alarm(found["state"]), found["seen"], found.get("evidence", {}))


def since(row: Release, seconds: float, now: datetime) -> datetime:
    """Return the moment from which probes count: not before production was first changed."""
    start = row.mutation_started_at or now
    return max(start, now - timedelta(seconds=seconds))


def is_armed(row: Release) -> bool:
    """Tell whether the release may be rolled back by itself now."""
    return State(row.state) in MUTATING and row.automatic_rollback_at is None
