"""The steps of the monitor: each release that is due is looked at, judged, told of, and closed when its time is up."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from tasks import watching
from tasks.acting import act, do
from tasks.checking import look_at
from tasks.context import Context, context_of, holder, is_gone, ledger, world
from tasks.domain.errors import GoliveError, LedgerError, Refused
from tasks.domain.messages import Alert
from tasks.domain.outcome import Measurement, Outcome
from tasks.domain.release import MUTATING, State
from tasks.domain.triggers import Alarm, Finding, Probe, limit_of
from tasks.domain.units import show_seconds
from tasks.domain.watch import Ended, WatchVerdict, signal, watch_verdict
from tasks.domain.way_back import Loss
from tasks.ledger.ledger import Ledger
from tasks.ledger.models import Look, Release
from tasks.ledger.releases import HOLDER_SILENT_AFTER
from tasks.loss import loss_now
from tasks.settings import Settings
from tasks.switch_back import end_old, kept_long_enough
from tasks.telling import alert, courier_for, refresh_root, tell
from tasks.watching import Fired, Watched

LEASE = "monitor"
LEASE_SECONDS = 600.0
EARLY = 0.1
"""A look is due a tenth of its period early, so that a scheduler's jitter does not skip one."""
DELIVER_WITHIN = 10.0
"""Seconds that the messages of one system may take to go out at the end of a run."""

DRIVEN = frozenset(
    {State.RUNNING, State.PREFLIGHT, State.BACKUP, State.REHEARSE, State.ROLLING_BACK, *MUTATING} - {State.WATCHING}
)
"""States in which some process must be at work on the release."""


@dataclass(frozen=True)
class Looked:
    """What a look at one release came to; ``fired`` is what fires, confirmed, if anything does."""

    seen: str
    fired: Fired | None = None


def may_monitor() -> str:
    """Return a name under which this run may sweep now, or nothing: a second run at the same time steps aside."""
    name = f"{holder()}/{os.urandom(4).hex()}"
    leases = ledger(Settings.from_environment()).leases
    if (seen := leases.seen(LEASE)) is not None and is_gone(seen[0].partition("/")[0]):
        leases.give_back(LEASE, seen[0])
    return name if leases.take(LEASE, name, LEASE_SECONDS) is not None else ""


def end_monitoring(name: str) -> None:
    """Let the next run sweep."""
    ledger(Settings.from_environment()).leases.give_back(LEASE, name)


@act
def due_releases() -> list[str]:
    """Return the releases that are due for a look, and tell of those whose process has died.

    A run that comes late looks once, over the whole gap.
    """
    book = ledger(Settings.from_environment())
    now, due = book.evidence.now(), []
    for row in book.releases.in_state(*DRIVEN, State.WATCHING):
        try:
            ctx = watching.observe(row).ctx
            if State(row.state) is not State.WATCHING:
                _tell_if_abandoned(ctx, now)
            elif _is_due(ctx, now):
                due.append(row.id)
        except LedgerError:
            raise
        except GoliveError:
            due.append(row.id)  # the look at it will come to the same, and tell of it
    return due


def _is_due(ctx: Context, now: datetime) -> bool:
    looks = ctx.ledger.evidence.looks(ctx.release.id, "monitor")
    last = looks[-1].at if looks else ctx.release.live_at or ctx.release.created_at
    in_turn = now - last >= timedelta(seconds=ctx.file.watch.every * (1 - EARLY))
    return in_turn or _time_is_up(ctx, now) or kept_long_enough(ctx, now)


@act
def look_after(release_id: str) -> Looked:
    """Look at one release: make its checks, judge its triggers, put it on record, tell people, close it if it is time.

    Acting on what fires is the flow's part, so that it happens as a rollback of its own. A look that cannot be made is
    on record as unknown, and told.
    """
    book = ledger(Settings.from_environment())
    looks = book.evidence.looks(release_id, "monitor")
    try:
        return _look_after(book, release_id, looks)
    except LedgerError:
        raise
    except Refused as error:
        return Looked(f"moved on meanwhile: {error}")
    except Exception as error:  # noqa: BLE001 - one release's trouble must not keep the monitor from the others
        return _could_not_look(book, release_id, looks, error)


def _look_after(book: Ledger, release_id: str, looks: Sequence[Look]) -> Looked:
    watched = watching.observe(book.releases.get(release_id))
    ctx, now = watched.ctx, book.evidence.now()
    if State(ctx.release.state) is not State.WATCHING:
        return Looked(f"is {ctx.release.state} by now")
    seen = look_at(ctx, "watch", ctx.file.checks.watch, ctx.target())
    findings = _findings(watched, now, {one.check: one.outcome for one in seen}, looks[-1] if looks else None)
    outcome = _outcome(findings, [one.outcome for one in seen if not one.advisory])
    holding = _holding(watched, findings)
    checks = {one.check: one.outcome.value for one in seen}
    loss = loss_now(ctx)
    _put_on_record(ctx, outcome, findings, checks, loss)
    fired = watching.fired(watched, holding, "monitor") if holding is not None else None
    _tell(ctx, now, _loud(findings, seen), outcome, looks, fired, loss)
    if fired is not None:
        return Looked(fired.seen, fired)
    if _time_is_up(ctx, now):
        return Looked(close(ctx, now, findings).seen)
    if outcome is not Outcome.FAILED and kept_long_enough(ctx, now):
        _end_old_version(partial(end_old, ctx), ctx, now)
    return Looked(outcome.value)


def _holding(watched: Watched, findings: Sequence[Finding]) -> Finding | None:
    """Return the first finding that fires and still holds when it is looked at again."""
    for finding in findings:
        if finding.state is Alarm.FIRES:
            holds, probes = watching.confirm(watched, finding)
            watched.ctx.ledger.evidence.probed(
                [watching.as_row(watched.release.id, probe, "confirmation") for probe in probes]
            )
            if holds:
                return finding
    return None


def _put_on_record(
    ctx: Context, outcome: Outcome, findings: Sequence[Finding], checks: Mapping[str, str], loss: Loss | None
) -> None:
    record: dict[str, Any] = {"findings": [watching.to_json(one) for one in findings], "checks": dict(checks)}
    if loss is not None:
        record["rollback"] = {"way": loss.way.value, "number": loss.number, "seen": loss.seen}
    ctx.ledger.evidence.looked(ctx.release.id, "monitor", outcome, record)


def _could_not_look(book: Ledger, release_id: str, looks: Sequence[Look], error: Exception) -> Looked:
    """Put a look that could not be made on record as unknown, and tell people; when the time is up, ask them."""
    said = world().secrets.mask(f"{type(error).__name__}: {error}")
    findings = [Finding("look", Alarm.UNKNOWN, said)]
    record = {"findings": [watching.to_json(one) for one in findings], "checks": {}}
    book.evidence.looked(release_id, "monitor", Outcome.UNKNOWN, record)
    world().progress(f"{release_id} could not be looked at: {said}")
    try:
        ctx, now = watching.observe(book.releases.get(release_id)).ctx, book.evidence.now()
        if State(ctx.release.state) is State.WATCHING:
            _tell(ctx, now, {"look unknown": said}, Outcome.UNKNOWN, looks, None)
            if _time_is_up(ctx, now):
                return Looked(close(ctx, now, findings).seen)
    except LedgerError:
        raise
    except GoliveError as again:
        world().progress(f"{release_id}: nobody could be told: {world().secrets.mask(str(again))}")
    return Looked(f"could not be looked at: {said}")


def _findings(watched: Watched, now: datetime, seen: Mapping[str, Outcome], previous: Look | None) -> list[Finding]:
    ctx = watched.ctx
    start = watching.since(watched, watched.release, watching.window_of(watched), now)
    probes = [watching.as_probe(row) for row in ctx.ledger.evidence.probes(watched.release.id, start)]
    before = {one["kind"]: watching.from_json(one) for one in previous.findings["findings"]} if previous else {}
    found = []
    if watched.probe is not None:
        found = watching.judge_probes(watched, probes, watching.as_of(probes, now))
    found += [
        one
        for one in (watching.judge_burst(watched, before.get("slower")), watching.judge_corruption(watched))
        if one is not None
    ]
    return found + watching.judge_checks(watched, seen, previous.findings["checks"] if previous else {})


def _outcome(findings: Sequence[Finding], checks: Sequence[Outcome]) -> Outcome:
    if any(one.state is Alarm.FIRES for one in findings) or Outcome.FAILED in checks:
        return Outcome.FAILED
    if any(one.state is Alarm.UNKNOWN for one in findings) or Outcome.UNKNOWN in checks:
        return Outcome.UNKNOWN
    return Outcome.PASSED


def _loud(findings: Sequence[Finding], seen: Sequence[Measurement]) -> dict[str, str]:
    """Return what people must hear of, by a name that stays the same from look to look."""
    loud = {f"{one.kind} {one.state}": one.seen for one in findings if one.state in (Alarm.FIRES, Alarm.UNKNOWN)}
    bad = [one for one in seen if one.outcome is not Outcome.PASSED and not one.advisory]
    return {**loud, **{f"{one.check} {one.outcome}": f"{one.check}: {one.reading.seen}" for one in bad}}


def _tell(
    ctx: Context,
    now: datetime,
    loud: Mapping[str, str],
    outcome: Outcome,
    looks: Sequence[Look],
    fired: Fired | None,
    loss: Loss | None = None,
) -> None:
    """Edit the root at every look; alert only when what is seen has changed, and not at each swing of what flaps."""
    live = ctx.release.live_at or now
    lost = [("a rollback now", loss.seen)] if loss is not None else []
    watched_for = show_seconds((now - live).total_seconds())
    refresh_root(ctx, [("watched for", watched_for), ("last look", outcome.value), *lost])
    if fired is None and _told_before(loud, outcome, looks):
        return
    acts = fired is not None and fired.automatic
    kinds = {name.partition(" ")[0] for name in loud}
    alert(
        ctx,
        Alert(
            title="the watch fires" if fired is not None else _TITLES[outcome],
            seen="; ".join(loud.values()) or "all checks pass again",
            limit="; ".join(limit_of(one) for one in ctx.file.rollback.when if one.kind in kinds) or "all checks pass",
            since=now,
            next_act="roll back to the previous version" if acts else "look again; a person may roll back",
            next_at=None if acts else now + timedelta(seconds=ctx.file.watch.every),
        ),
    )


_TITLES = {
    Outcome.PASSED: "the watch passes again",
    Outcome.FAILED: "the watch has failed",
    Outcome.UNKNOWN: "the watch learns too little",
}


def _told_before(loud: Mapping[str, str], outcome: Outcome, looks: Sequence[Look]) -> bool:
    if not looks:
        return not loud
    if signal([Outcome(look.outcome) for look in looks]).flapping:
        return True
    if not loud:
        return outcome.value == looks[-1].outcome
    last = looks[-1].findings
    names = {f"{one['kind']} {one['state']}" for one in last["findings"]}
    return loud.keys() <= names | {f"{check} {outcome}" for check, outcome in last["checks"].items()}


def _time_is_up(ctx: Context, now: datetime) -> bool:
    return ctx.release.watch_until is not None and now >= ctx.release.watch_until


def close(ctx: Context, now: datetime, findings: Sequence[Finding]) -> WatchVerdict:
    """End the watch: stable by the numbers, or a question to a person; never stable for want of data."""
    release, book = ctx.release, ctx.ledger
    live = release.live_at or now
    until = min(now, release.watch_until or now)
    plan = ctx.file.watch.probe
    verdict = watch_verdict(
        _probes(ctx, live, until),
        live,
        until,
        float(plan.every) if plan is not None else float(ctx.file.watch.every),
        findings=[*findings, *_fired_before(ctx, findings)],
        critical=_critical(ctx),
        least=ctx.file.watch.coverage,
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
        done = context_of(claim)
        steps = done.file.rollout.finish(done.site(done.release.version))
        _end_old_version(partial(do, done, "watch", steps), done, now)
    book.releases.let_go(claim)
    return verdict


def _end_old_version(end: Callable[[], object], ctx: Context, now: datetime) -> None:
    try:
        end()
    except GoliveError as error:
        # The new version serves and is well; what is left over does no harm, but somebody must know.
        alert(
            ctx,
            Alert(
                title="the old version could not be stopped",
                seen=world().secrets.mask(str(error)),
                limit="only the new version runs",
                since=now,
                next_act="nothing: a person may stop it",
            ),
        )


def _probes(ctx: Context, live: datetime, until: datetime) -> list[Probe]:
    """Return the probes of the watch; where none are made, the looks of the monitor count as such."""
    evidence = ctx.ledger.evidence
    if ctx.file.watch.probe is not None:
        return [watching.as_probe(row) for row in evidence.probes(ctx.release.id, live)]
    looks = [look for look in evidence.looks(ctx.release.id, "monitor") if look.findings["checks"]]
    return [Probe(min(look.at, until), Outcome(look.outcome)) for look in looks]


def _fired_before(ctx: Context, findings: Sequence[Finding]) -> list[Finding]:
    """Return what fired in any look of the watch and does not any more."""
    now = {one.kind for one in findings if one.state is Alarm.FIRES}
    looks = [look for source in ("guard", "monitor") for look in ctx.ledger.evidence.looks(ctx.release.id, source)]
    found = [watching.from_json(one) for look in looks for one in look.findings["findings"]]
    return list({one.kind: one for one in found if one.state is Alarm.FIRES and one.kind not in now}.values())


def _critical(ctx: Context) -> list[Outcome]:
    """Return how each check that decides came out last; one that was never made is unknown."""
    last = {one.name: Outcome(one.outcome) for one in ctx.ledger.evidence.measurements(ctx.release.id, "watch")}
    return [last.get(check.name, Outcome.UNKNOWN) for check in ctx.file.checks.watch if not check.advisory]


def _figures(verdict: WatchVerdict) -> list[tuple[str, str]]:
    evidence: Mapping[str, Any] = verdict.evidence
    return [
        ("probes", f"{evidence['made']} of {evidence['expected']} expected"),
        ("failed", str(evidence["failed"])),
    ]


def _tell_if_abandoned(ctx: Context, now: datetime) -> None:
    """Tell people once of a release whose process died in the middle of it; only they know which way to go."""
    row = ctx.release
    heard = row.holder_seen is not None and now - row.holder_seen < HOLDER_SILENT_AFTER
    if heard and not is_gone(row.holder):
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
            next_act=_way_out(row),
        ),
    )


def _way_out(row: Release) -> str:
    if State(row.state) is State.ROLLING_BACK:
        return f"wait for a person: golive resume {row.id} goes on with the rollback"
    touched = row.mutation_started_at is not None
    back = f"golive rollback {row.system} --release {row.id}" if touched else f"golive stop {row.id}"
    if row.scope != "release":
        return f"wait for a person: {back}"
    return f"wait for a person: golive resume {row.id}, or {back}"


@act
def deliver_messages() -> int:
    """Deliver what is still in the outbox of systems that no process is at work on, and return how much went out.

    Raises nothing: messages stay in the ledger for the next run.
    """
    book = ledger(Settings.from_environment())
    went, seen = 0, set()
    for row in book.releases.latest(limit=200):
        if row.system in seen:
            continue
        seen.add(row.system)
        active = book.releases.active(row.system)
        if active is not None and State(active.state) in DRIVEN and not is_gone(active.holder) and active.holder:
            continue  # its own process delivers, to the terminal of whoever looks on
        try:
            went += courier_for(watching.observe(active or row).ctx).flush(DELIVER_WITHIN)
        except LedgerError:
            raise
        except GoliveError as error:
            world().progress(f"messages of {row.system} wait: {world().secrets.mask(str(error))}")
    return went
