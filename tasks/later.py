"""A look in the later stages of a watch: it stands for all that is due, gives a status report, and verdicts on stages.

The release is stable and waits for nobody: what these looks find is told to people, and acted upon only where the
release file says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from tasks import alerting, moments, watching
from tasks.checks import Check
from tasks.closing import criteria_of, figures_of, fired_in, last_outcomes
from tasks.context import Context, world
from tasks.domain import stages
from tasks.domain.counting import many
from tasks.domain.errors import LedgerError
from tasks.domain.gates import of_stage
from tasks.domain.messages import Note, report_note
from tasks.domain.outcome import Measurement, Outcome
from tasks.domain.release import State
from tasks.domain.stages import Due
from tasks.domain.statistics import summarise
from tasks.domain.triggers import Alarm, Finding, Probe
from tasks.domain.units import show_seconds
from tasks.domain.watch import Ended, WatchVerdict, watch_verdict
from tasks.ledger.ledger import Ledger
from tasks.ledger.models import Look
from tasks.moving import count_now
from tasks.signing import ask
from tasks.spec.watch import Stage
from tasks.staging import LOOK, VERDICT, began, checks_of, end_early, is_over, plans_of, replaced_by, standing_of
from tasks.telling import about
from tasks.watching import Looked, Watched


def look(book: Ledger, release_id: str) -> Looked:
    """Do what is due in the later stages of a release: one look over all that was missed, a report, verdicts, the end.

    A look that cannot be made is on record as unknown, and told.
    """
    watched = watching.observe(book.releases.get(release_id))
    ctx, now = watched.ctx, book.evidence.now()
    if State(ctx.release.state) is not State.STABLE or is_over(book, ctx.release):
        return Looked("is over")
    if (other := replaced_by(book, ctx.release)) is not None:
        return Looked(end_early(ctx, other), reported=True)
    standing = standing_of(book, ctx.release, ctx.file, now)
    looked = Looked("not due")
    if standing.dues:
        looks = book.evidence.looks(release_id, LOOK)
        try:
            looked = _look(watched, standing.dues, looks, now)
        except LedgerError:
            raise
        except Exception as error:  # noqa: BLE001 - one release's trouble must not keep the monitor from the others
            looked = _could_not_look(ctx, standing.dues, looks, now, error)
    for number in standing.over:
        looked = Looked(_judge(ctx, number, now).seen, looked.fired, reported=True)
    return looked


def _look(watched: Watched, dues: Sequence[Due], looks: Sequence[Look], now: datetime) -> Looked:
    ctx, newest = watched.ctx, dues[-1]
    stage = ctx.file.watch.then[newest.stage]
    checks = checks_of(ctx, stage)
    seen = moments.make(ctx, checks)
    burst = watching.burst(watched)
    integrity = watching.look_for_corruption(watched)
    findings = _findings(watched, checks, seen, burst, integrity, looks[-1] if looks else None)
    outcome = alerting.outcome_of(findings, [one.outcome for one in seen if not one.advisory])
    holding = watching.holding(watched, findings)
    count_now(ctx)
    record = {
        **_numbers(ctx, dues),
        "findings": [watching.to_json(one) for one in findings],
        "checks": {one.check: one.outcome.value for one in seen},
        "burst": _as_json(burst, watched.baseline) if watched.probe is not None else None,
        "judged": {"integrity": watching.integrity_to_json(integrity), "holds": holding and holding.kind},
    }
    note = _report(ctx, stage, record, outcome, findings, seen, burst)
    told = [note] if stage.report else []
    ctx.ledger.evidence.looked(ctx.release.id, LOOK, outcome, record, due_at=newest.at, tell=told)
    fired = None
    if holding is not None and stage.rollback:
        fired = watching.fired(watched, holding, "monitor", alerting.counted_for(holding, seen, looks))
    acts = fired is not None and fired.automatic
    what = alerting.loud(findings, seen)
    if holding is not None or not alerting.told_before(what, outcome, looks):
        title = "the watch fires" if holding is not None else alerting.TITLES[outcome]
        next_act, next_at = ("roll back to the previous version, at once", None) if acts else _next_act(ctx, now)
        counted = alerting.counted(findings, seen, looks)
        alerting.alert_of(ctx, title, what, now, next_act, next_at, looks, counted=counted)
    # A release that is stable waits for nobody: where golive may not act, people have been told how to.
    return Looked(
        f"{record['stage']}, look {newest.number} of {newest.of}: {outcome}", fired if acts else None, reported=True
    )


def _next_act(ctx: Context, now: datetime) -> tuple[str, datetime | None]:
    """Return what golive does next of itself, and when, and what a person may do; after the last look nothing."""
    start = began(ctx.release) or now
    at = next((one.at for one in stages.schedule(plans_of(ctx.file), start) if one.at > now), None)
    by_person = f"a person may roll back: golive rollback {ctx.file.system} --release {ctx.release.id}"
    return f"{'look again' if at else 'nothing, this was the last look'}; {by_person}", at


def _numbers(ctx: Context, dues: Sequence[Due]) -> dict[str, Any]:
    newest = dues[-1]
    return {
        "stage": ctx.file.watch.then[newest.stage].name,
        "number": newest.stage,
        "look": newest.number,
        "of": newest.of,
        "missed": len(dues) - 1,
    }


def _as_json(burst: Sequence[Probe], baseline: Sequence[float]) -> dict[str, Any]:
    return {
        "made": sum(one.counted is not Outcome.UNKNOWN for one in burst),
        "failed": sum(one.counted is Outcome.FAILED for one in burst),
        "latencies": [one.elapsed for one in burst if one.outcome is Outcome.PASSED],
        "before": summarise(baseline).as_json()["p50"],
    }


def _findings(
    watched: Watched,
    checks: Sequence[Check],
    seen: Sequence[Measurement],
    burst: Sequence[Probe],
    integrity: Sequence[Probe],
    previous: Look | None,
) -> list[Finding]:
    """Return what the triggers say for which one look is enough; nobody probes between two looks of these stages."""
    took = [one.elapsed for one in burst if one.outcome is Outcome.PASSED and one.elapsed is not None]
    found = [
        watching.judge_burst(watched, took, watching.findings_of(previous).get("slower")),
        watching.judge_corruption(watched, integrity, watched.ctx.world.clock.now()),
    ]
    outcomes = {one.check: one.outcome for one in seen}
    judged = watching.judge_checks(checks, outcomes, previous.findings["checks"] if previous else {})
    return [*(one for one in found if one is not None), *judged]


def _report(
    ctx: Context,
    stage: Stage,
    record: Mapping[str, Any],
    outcome: Outcome,
    findings: Sequence[Finding],
    seen: Sequence[Measurement],
    burst: Sequence[Probe],
) -> Note:
    """Return the status report that a look gives people."""
    bad = [one for one in seen if one.outcome is not Outcome.PASSED]
    loud = [f"{one.kind} {one.state}" for one in findings if one.state is not Alarm.QUIET]
    text = "; ".join([*(f"{one.check}: {one.reading.seen}" for one in bad), *loud]) or "all checks pass"
    figures = [("look", f"{record['look']} of {record['of']}, {stage.name}"), ("outcome", outcome.value)]
    figures.append(("checks", f"{len(seen) - len(bad)} of {len(seen)} passed"))
    if burst:
        now, before = summarise(record["burst"]["latencies"]), record["burst"]["before"]
        figures.append(("probes", f"{record['burst']['failed']} of {record['burst']['made']} failed"))
        if now.count:
            was = f", before the release {show_seconds(before)}" if before is not None else ""
            figures.append(("median", f"{show_seconds(now.p50)}{was}"))
    if record["missed"]:
        figures.append(("missed looks", str(record["missed"])))
    return report_note(about(ctx.release), "status report", ctx.world.secrets.mask(text), figures)


def _could_not_look(
    ctx: Context, dues: Sequence[Due], looks: Sequence[Look], now: datetime, error: Exception
) -> Looked:
    said = world().secrets.mask(f"{type(error).__name__}: {error}")
    findings = [Finding("look", Alarm.UNKNOWN, said)]
    record = {**_numbers(ctx, dues), "findings": [watching.to_json(one) for one in findings], "checks": {}}
    note = report_note(about(ctx.release), "status report", f"the look could not be made: {said}")
    outcome, what = Outcome.UNKNOWN, {"look unknown": said}
    ctx.ledger.evidence.looked(ctx.release.id, LOOK, outcome, record, due_at=dues[-1].at, tell=[note])
    if not alerting.told_before(what, outcome, looks):
        title, counted = alerting.TITLES[outcome], alerting.counted_unmade(looks)
        alerting.alert_of(ctx, title, what, now, *_next_act(ctx, now), looks, counted=counted)
    return Looked(f"could not be looked at: {said}", reported=True)


def _judge(ctx: Context, number: int, now: datetime) -> WatchVerdict:
    """Give the verdict on a stage that is over, by the criteria of the release file and the looks that were made."""
    book, plans, stage = ctx.ledger, plans_of(ctx.file), ctx.file.watch.then[number]
    start, end = stages.begins(plans, began(ctx.release) or now)[number:][:2]
    mine = [one for one in book.evidence.looks(ctx.release.id, LOOK) if one.findings["number"] == number]
    verdict = verdict_on(Watched(ctx), number, mine, start, end)
    stable = verdict.ended is Ended.STABLE
    text = f"{verdict.ended}: {verdict.seen}"
    record = {
        **verdict.evidence,
        "stage": stage.name,
        "number": number,
        "seen": verdict.seen,
        "ended": verdict.ended.value,
        "looks": len(mine),
        "judged": {"from": start.isoformat(), "until": end.isoformat()},
        "final": number == len(plans) - 1,
    }
    note = report_note(about(ctx.release), f"the stage {stage.name} is over", text, figures_of(verdict))
    outcome = Outcome.PASSED if stable else Outcome.UNKNOWN if verdict.may_mend else Outcome.FAILED
    book.evidence.looked(ctx.release.id, VERDICT, outcome, record, due_at=end, tell=[note])
    ask(ctx, of_stage(number))
    if not stable:
        of = many(verdict.evidence["made"], "probe" if ctx.file.watch.probe is not None else "look")
        counted, what = f"{verdict.evidence['failed']} of {of} failed", {"stage": verdict.seen}
        alerting.alert_of(ctx, "a stage of the watch was not stable", what, now, *_next_act(ctx, now), counted=counted)
    return verdict


def verdict_on(watched: Watched, number: int, mine: Sequence[Look], start: datetime, end: datetime) -> WatchVerdict:
    """Return the verdict on a later stage by its looks."""
    file = watched.ctx.file
    stage = file.watch.then[number]
    interval = stage.for_ / stage.looks
    last = [watching.from_json(one) for one in mine[-1].findings["findings"]] if mine else []
    return watch_verdict(
        [probe for one in mine for probe in _probes_of(one, start, interval)],
        start,
        end,
        interval,
        findings=[*last, *fired_in(mine, last)],
        critical=last_outcomes(mine, checks_of(watched.ctx, stage)),
        criteria=criteria_of(file),
        baseline=watched.baseline,
    )


def _probes_of(one: Look, start: datetime, interval: float) -> list[Probe]:
    """Return the probes of a look as if made in the middle of its interval; where none are made it counts as one."""
    at = start + timedelta(seconds=(one.findings["look"] - 0.5) * interval)
    if (burst := one.findings.get("burst")) is None:
        return [Probe(at, Outcome(one.outcome))] if one.findings["checks"] else []
    failed = [Probe(at, Outcome.FAILED)] * burst["failed"]
    return [*failed, *(Probe(at, Outcome.PASSED, took) for took in burst["latencies"])]
