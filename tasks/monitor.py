"""The steps of the monitor: each release that is due is looked at, judged, told of, and closed when its time is up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from tasks import alerting, later, moments, staging, watching
from tasks.acting import act, act_once, alone, retried, shared_out
from tasks.beside import take_from_dead
from tasks.checks import Check
from tasks.closing import close, end_old_version, time_is_up
from tasks.context import Context, context_of, is_gone, ledger, once, world
from tasks.domain.errors import GoliveError, LedgerError, Refused
from tasks.domain.judging import basis_of
from tasks.domain.outcome import Outcome
from tasks.domain.release import DRIVEN, State
from tasks.domain.triggers import Alarm, Finding
from tasks.domain.units import show_seconds
from tasks.domain.way_back import Loss
from tasks.gatekeeping import refusal_of
from tasks.ledger.ledger import Ledger
from tasks.ledger.models import Look
from tasks.ledger.part import MONITOR
from tasks.ledger.releases import Claim
from tasks.loss import loss_now
from tasks.moving import count_now
from tasks.settings import Settings
from tasks.switch_back import end_old, kept_long_enough
from tasks.telling import courier_for, refresh_root
from tasks.watching import Fired, Looked, Watched

LEASE_SECONDS = 600.0
EARLY = 0.1
"""A look is due a tenth of its period early, so that a scheduler's jitter does not skip one."""
DELIVER_WITHIN = 10.0
"""Seconds that the messages of one system may take to go out at the end of a run."""


def may_monitor() -> str:
    """Return a name under which this run may sweep now, or nothing: a second run at the same time steps aside."""
    name = once()
    return name if take_from_dead(ledger(Settings.from_environment()), MONITOR, name, LEASE_SECONDS) else ""


def end_monitoring(name: str) -> None:
    """Let the next run sweep."""
    ledger(Settings.from_environment()).leases.give_back(MONITOR, name)


@act
def due_releases() -> list[str]:
    """Return the releases that are due for a look; a run that comes late looks once, over the whole gap."""
    book = ledger(Settings.from_environment())
    now, due = book.evidence.now(), []
    for row in book.releases.in_state(State.WATCHING):
        try:
            if _is_due(watching.observe(row).ctx, now):
                due.append(row.id)
        except LedgerError:
            raise
        except GoliveError:
            due.append(row.id)  # the look at it will come to the same, and tell of it
    return due + [row.id for row in book.releases.newest_stable() if staging.is_due(book, row, now)]


def _is_due(ctx: Context, now: datetime) -> bool:
    looks = ctx.ledger.evidence.looks(ctx.release.id, "monitor")
    last = looks[-1].at if looks else ctx.release.live_at or ctx.release.created_at
    if refusal_of(Watched(ctx)) is not None:
        return True
    in_turn = now - last >= timedelta(seconds=ctx.file.watch.every * (1 - EARLY))
    return in_turn or time_is_up(ctx, now) or kept_long_enough(ctx, now) or moments.moment_is_new(ctx, looks, now)


def start_looks(release_ids: Sequence[str]) -> list[Any]:
    """Start the looks at releases as Prefect tasks, one for each as long as they are few, and return their futures.

    Many share tasks, in which they are looked at one after the other.
    """
    shares = shared_out(release_ids)
    if alone():
        return [look_after_each.submit(ids) for _name, ids in shares]
    return [look_after_each.with_options(task_run_name=name).submit(ids, return_state=False) for name, ids in shares]


@act_once
def look_after_each(release_ids: Sequence[str]) -> list[tuple[str, Looked]]:
    """Look at releases one after the other, each tried again by itself where that can help."""
    return [(release_id, retried(look_after, release_id)) for release_id in release_ids]


@act
def look_after(release_id: str) -> Looked:
    """Look at one release: make its checks, judge its triggers, put it on record, tell people, close it if it is time.

    Acting on what fires is the flow's part, so that it happens as a rollback of its own. A look that cannot be made is
    on record as unknown, and told. Of two that come at once, one looks.
    """
    book = ledger(Settings.from_environment())
    name, lease = once(), f"look {release_id}"
    if not take_from_dead(book, lease, name, LEASE_SECONDS):
        return Looked("is being looked at")
    try:
        if State(book.releases.get(release_id).state) is State.STABLE:
            return later.look(book, release_id)
        return _look_anyhow(book, release_id)
    finally:
        book.leases.give_back(lease, name)


def look_right_after(claim: Claim) -> Looked | None:
    """Make the checks that are due right after going live, if the release file names any.

    Whatever hinders that, the release is live and watched: the monitor makes them by its next look.
    """
    try:
        ctx = context_of(claim)
        if not moments.moments_due(ctx, (), ctx.ledger.evidence.now()):
            return None
        return look_after(claim.release_id)
    except GoliveError as error:
        world().progress(f"{claim.release_id}: the look right after going live: {world().secrets.mask(str(error))}")
        return None


def _look_anyhow(book: Ledger, release_id: str) -> Looked:
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
    if (refused := refusal_of(watched)) is not None:
        return Looked(refused.seen, refused)
    checks = [*ctx.file.checks.watch, *moments.moments_due(ctx, looks, now)]
    seen = moments.make(ctx, checks)
    previous, outcomes = looks[-1] if looks else None, {one.check: one.outcome for one in seen}
    findings, basis = _findings(watched, now, checks, outcomes, previous)
    outcome = alerting.outcome_of(findings, [one.outcome for one in seen if not one.advisory])
    holding = watching.holding(watched, findings)
    count_now(ctx)
    loss = loss_now(ctx)
    _put_on_record(ctx, outcome, findings, {**basis, "holds": holding and holding.kind}, outcomes, loss)
    fired = None
    if holding is not None:
        fired = watching.fired(watched, holding, "monitor", alerting.counted_for(holding, seen, looks))
    counted = alerting.counted(findings, seen, looks)
    _tell(ctx, now, alerting.loud(findings, seen), outcome, looks, fired, loss, counted=counted)
    if fired is not None:
        return Looked(fired.seen, fired)
    if time_is_up(ctx, now):
        return Looked(close(ctx, now, findings), reported=True)
    if outcome is not Outcome.FAILED and kept_long_enough(ctx, now):
        end_old_version(partial(end_old, ctx), ctx, now)
    return Looked(outcome.value)


def _put_on_record(
    ctx: Context,
    outcome: Outcome,
    findings: Sequence[Finding],
    basis: Mapping[str, Any],
    checks: Mapping[str, Outcome],
    loss: Loss | None,
) -> None:
    made = {name: seen.value for name, seen in checks.items()}
    record: dict[str, Any] = {
        "findings": [watching.to_json(one) for one in findings],
        "checks": made,
        "judged": dict(basis),
    }
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
            counted = alerting.counted_unmade(looks)
            _tell(ctx, now, {"look unknown": said}, Outcome.UNKNOWN, looks, None, counted=counted)
            if time_is_up(ctx, now):
                return Looked(close(ctx, now, findings), reported=True)
    except LedgerError:
        raise
    except GoliveError as again:
        world().progress(f"{release_id}: nobody could be told: {world().secrets.mask(str(again))}")
    return Looked(f"could not be looked at: {said}")


def _findings(
    watched: Watched, now: datetime, checks: Sequence[Check], seen: Mapping[str, Outcome], previous: Look | None
) -> tuple[list[Finding], dict[str, Any]]:
    """Return what the triggers and checks say, and what that rests on besides what is on record anyhow."""
    before = watching.findings_of(previous)
    found, basis = [], {}
    if watched.probe is not None:
        start = watching.since(watched, watched.release, watching.window_of(watched), now)
        ticks = watching.ticks_of(watched.ctx.ledger.evidence.probes(watched.release.id, start))
        at = watching.as_of(ticks, now)
        found = watching.judge_probes(watched, ticks, at)
        basis = basis_of(ticks, at, start).as_json()
    latencies = watching.take_latencies(watched)
    integrity = watching.look_for_corruption(watched)
    found += [
        one
        for one in (
            watching.judge_burst(watched, latencies, before.get("slower")),
            watching.judge_corruption(watched, integrity, watched.ctx.world.clock.now()),
        )
        if one is not None
    ]
    found += watching.judge_checks(checks, seen, previous.findings["checks"] if previous else {})
    return found, {**basis, "latencies": latencies, "integrity": watching.integrity_to_json(integrity)}


def _tell(
    ctx: Context,
    now: datetime,
    loud: Mapping[str, str],
    outcome: Outcome,
    looks: Sequence[Look],
    fired: Fired | None,
    loss: Loss | None = None,
    *,
    counted: str,
) -> None:
    """Edit the root at every look; alert only when what is seen has changed, and not at each swing of what flaps."""
    live = ctx.release.live_at or now
    lost = [("a rollback now", loss.seen)] if loss is not None else []
    watched_for = show_seconds((now - live).total_seconds())
    refresh_root(ctx, [("watched for", watched_for), ("last look", outcome.value), *lost])
    if fired is None and alerting.told_before(loud, outcome, looks):
        return
    title = "the watch fires" if fired is not None else alerting.TITLES[outcome]
    alerting.alert_of(ctx, title, loud, now, *_next_act(ctx, now, fired), looks, counted=counted)


def _next_act(ctx: Context, now: datetime, fired: Fired | None) -> tuple[str, datetime | None]:
    """Return what golive does next after a look, and when if not at once, and what a person may do."""
    back = f"golive rollback {ctx.file.system} --release {ctx.release.id}"
    if fired is not None and fired.automatic:
        return "roll back to the previous version, at once", None
    if fired is not None:
        return f"wait for a person: {back}, or golive accept {ctx.release.id}", None
    if time_is_up(ctx, now):
        return f"end the watch with its verdict, at once; a person may roll back: {back}", None
    at = now + timedelta(seconds=ctx.file.watch.every)
    until = ctx.release.watch_until or at
    return f"look again; a person may roll back: {back}", min(at, until)


@act
def deliver_messages() -> int:
    """Deliver what is still in the outbox of systems that no process is at work on, and return how much went out.

    Raises nothing: messages stay in the ledger for the next run.
    """
    book = ledger(Settings.from_environment())
    went, under_way = 0, book.releases.active_of_each()
    for row in book.releases.newest_of_each():
        active = under_way.get(row.system)
        if active is not None and State(active.state) in DRIVEN and not is_gone(active.holder) and active.holder:
            continue  # its own process delivers, to the terminal of whoever looks on
        try:
            went += courier_for(watching.observe(active or row).ctx).flush(DELIVER_WITHIN)
        except LedgerError:
            raise
        except GoliveError as error:
            world().progress(f"messages of {row.system} wait: {world().secrets.mask(str(error))}")
    return went
