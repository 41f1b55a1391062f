"""The steps of the monitor: each release that is due is looked at, judged, told of, and closed when its time is up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from tasks import watching
from tasks.acting import act, do
from tasks.checking import look_at
from tasks.context import Context, context_of, holder, ledger
from tasks.domain.messages import Alert
from tasks.domain.outcome import Outcome
from tasks.domain.release import MUTATING, State
from tasks.domain.triggers import Alarm, Finding, limit_of
from tasks.domain.units import show_seconds
from tasks.domain.watch import Ended, WatchVerdict, watch_verdict
from tasks.ledger.models import Look
from tasks.ledger.releases import HOLDER_SILENT_AFTER
from tasks.settings import Settings
from tasks.telling import alert, refresh_root, tell
from tasks.watching import Watched

LEASE = "monitor"
LEASE_SECONDS = 600.0
EARLY = 0.1
"""A look is due a tenth of its period early, so that a scheduler's jitter does not skip one."""


@dataclass(frozen=True)
class Looked:
    """What a look at one release came to; ``alarm`` is what fires, confirmed, if anything does."""

    release_id: str
    system: str
    outcome: Outcome
    alarm: str = ""
    automatic: bool = False


def may_monitor() -> bool:
    """Tell whether this process may sweep now; a second run at the same time steps aside."""
    return ledger(Settings.from_environment()).leases.take(LEASE, holder(), LEASE_SECONDS) is not None


def end_monitoring() -> None:
    """Let the next run sweep."""
    ledger(Settings.from_environment()).leases.give_back(LEASE, holder())


@act
def due_releases() -> list[str]:
    """Return the releases that are due for a look, and tell of those whose process has died.

    A run that comes late looks once, over the whole gap.
    """
    book = ledger(Settings.from_environment())
    now, due = book.evidence.now(), []
    for row in book.releases.in_state(*MUTATING):
        ctx = watching.observe(row).ctx
        if State(row.state) is not State.WATCHING:
            _tell_if_abandoned(ctx, now)
            continue
        looks = book.evidence.looks(row.id, "monitor")
        last = looks[-1].at if looks else row.live_at or row.created_at
        if now - last >= timedelta(seconds=ctx.file.watch.every * (1 - EARLY)) or _time_is_up(ctx, now):
            due.append(row.id)
    return due


@act
def look_after(release_id: str) -> Looked:
    """Look at one release: make its checks, judge its triggers, put it on record, tell people, close it if it is time.

    Acting on an alarm is the flow's part, so that it happens as a rollback of its own.
    """
    book = ledger(Settings.from_environment())
    watched = watching.observe(book.releases.get(release_id))
    ctx, now = watched.ctx, book.evidence.now()
    looks = book.evidence.looks(release_id, "monitor")
    previous = looks[-1] if looks else None
    seen = look_at(ctx, "watch", ctx.file.checks.watch, ctx.target())
    findings = _findings(watched, now, {one.check: one.outcome for one in seen}, previous)
    outcomes = {one.check: one.outcome.value for one in seen}
    firing = [one for one in findings if one.state is Alarm.FIRES]
    outcome = _outcome(findings, [one.outcome for one in seen if not one.advisory])
    record = {"findings": [watching.to_json(one) for one in findings], "checks": outcomes}
    book.evidence.looked(release_id, "monitor", outcome, record)
    _tell(ctx, now, findings, outcome, previous)
    for finding in firing:
        if watching.confirmed(watched, finding):
            automatic = ctx.file.rollback.automatic and watching.is_armed(watched.release)
            return Looked(release_id, ctx.file.system, outcome, f"{finding.kind}: {finding.seen}", automatic)
    if _time_is_up(ctx, now):
        close(ctx, now, findings)
    return Looked(release_id, ctx.file.system, outcome)


def _findings(watched: Watched, now: datetime, seen: Mapping[str, Outcome], previous: Look | None) -> list[Finding]:
    ctx = watched.ctx
    start = watching.since(watched.release, watching.window_of(watched), now)
    probes = [watching.as_probe(row) for row in ctx.ledger.evidence.probes(watched.release.id, start)]
    before = {one["kind"]: watching.from_json(one) for one in previous.findings["findings"]} if previous else {}
    found = watching.judge_probes(watched, probes, now) if watched.probe is not None else []
    found += [
        one
        for one in (watching.judge_burst(watched, before.get("slower")), watching.judge_corruption(watched))
        if one is not None
    ]
    return found + watching.judge_checks(watched, seen, previous.findings["checks"] if previous else {})


def _outcome(findings: list[Finding], checks: list[Outcome]) -> Outcome:
    if any(one.state is Alarm.FIRES for one in findings) or Outcome.FAILED in checks:
        return Outcome.FAILED
    if any(one.state is Alarm.UNKNOWN for one in findings) or Outcome.UNKNOWN in checks:
        return Outcome.UNKNOWN
    return Outcome.PASSED


def _tell(ctx: Context, now: datetime, findings: list[Finding], outcome: Outcome, previous: Look | None) -> None:
    """Edit the root at every look; alert only when what is seen has changed."""
    live = ctx.release.live_at or now
    refresh_root(ctx, [("watched for", show_seconds((now - live).total_seconds())), ("last look", outcome.value)])
    if outcome is Outcome.PASSED or (previous is not None and previous.outcome == outcome):
        return
    loud = [one for one in findings if one.state in (Alarm.FIRES, Alarm.UNKNOWN)]
    seen = "; ".join(f"{one.kind}: {one.seen}" for one in loud) or "a check did not pass"
    kinds = {one.kind for one in loud}
    acts = ctx.file.rollback.automatic and any(one.state is Alarm.FIRES for one in findings)
    alert(
        ctx,
        Alert(
            title="the watch fires" if acts else f"the watch is {outcome.value}",
            seen=seen,
            limit="; ".join(limit_of(one) for one in ctx.file.rollback.when if one.kind in kinds) or "all checks pass",
            since=now,
            next_act="roll back to the previous version" if acts else "look again; a person may roll back",
            next_at=None if acts else now + timedelta(seconds=ctx.file.watch.every),
        ),
    )


def _time_is_up(ctx: Context, now: datetime) -> bool:
    return ctx.release.watch_until is not None and now >= ctx.release.watch_until


def close(ctx: Context, now: datetime, findings: list[Finding]) -> WatchVerdict:
    """End the watch: stable by the numbers, or a question to a person; never stable for want of data."""
    release, book = ctx.release, ctx.ledger
    live = release.live_at or now
    probes = [watching.as_probe(row) for row in book.evidence.probes(release.id, live)]
    last = {
        one.name: Outcome(one.outcome) for one in book.evidence.measurements(release.id, "watch") if not one.advisory
    }
    plan = ctx.file.watch.probe
    interval = float(plan.every) if plan is not None else float(ctx.file.watch.every)
    verdict = watch_verdict(
        probes, live, min(now, release.watch_until or now), interval, findings=findings, critical=list(last.values())
    )
    stable = verdict.ended is Ended.STABLE
    after = State.STABLE if stable else State.NEEDS_PERSON
    figures = _figures(verdict)
    text = f"{verdict.ended}: {verdict.seen}"
    claim = book.releases.seize(
        release.id,
        State.WATCHING,
        after,
        holder(),
        note=text,
        tell=tell(ctx, after, text, figures),
        verdict=verdict.ended.value,
    )
    book.evidence.looked(release.id, "verdict", "passed" if stable else "unknown", dict(verdict.evidence))
    if stable:
        own = context_of(claim)
        do(own, "watch", own.file.rollout.finish(own.site(release.version)))
    return verdict


def _figures(verdict: WatchVerdict) -> list[tuple[str, str]]:
    evidence: Mapping[str, Any] = verdict.evidence
    return [
        ("probes", f"{evidence['made']} of {evidence['expected']} expected"),
        ("failed", str(evidence["failed"])),
    ]


def _tell_if_abandoned(ctx: Context, now: datetime) -> None:
    """Tell people once of a release whose process died in the middle of a change; only they know which way to go."""
    row = ctx.release
    if row.holder_seen is not None and now - row.holder_seen < HOLDER_SILENT_AFTER:
        return
    looks = ctx.ledger.evidence.looks(row.id, "abandoned")
    if looks and looks[-1].findings["epoch"] == row.epoch:
        return
    ctx.ledger.evidence.looked(row.id, "abandoned", Outcome.UNKNOWN, {"epoch": row.epoch, "state": row.state})
    alert(
        ctx,
        Alert(
            title="nobody drives this release any more",
            seen=f"the process {row.holder or 'that drove it'} is silent in state {row.state}",
            limit=f"a sign of life every {HOLDER_SILENT_AFTER.seconds} s",
            since=row.holder_seen or now,
            next_act=f"wait for a person: golive resume {row.id}, or golive rollback --release {row.id}",
        ),
    )
