"""The end of the first stage of a watch: stable by the numbers, extended for want of them, or asked of a person."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from tasks import watching
from tasks.acting import do
from tasks.checks import Check
from tasks.context import Context, context_of, holder, world
from tasks.domain.errors import GoliveError
from tasks.domain.gates import LIVE, STABLE
from tasks.domain.messages import Alert, report_note
from tasks.domain.outcome import Outcome
from tasks.domain.release import State
from tasks.domain.triggers import Alarm, Finding, Probe
from tasks.domain.units import show_seconds
from tasks.domain.watch import Criteria, Ended, WatchVerdict, watch_verdict
from tasks.ledger.models import Look
from tasks.signing import ask, standing_of
from tasks.spec.release_file import ReleaseFile
from tasks.telling import about, alert, tell
from tasks.watching import Watched

SOURCE = "verdict"
"""The source of a look that gives the verdict on the first stage."""


def time_is_up(ctx: Context, now: datetime) -> bool:
    """Tell whether the first stage is over."""
    return ctx.release.watch_until is not None and now >= ctx.release.watch_until


def close(ctx: Context, now: datetime, findings: Sequence[Finding]) -> str:
    """End the first stage, never as stable for want of data, and say how.

    Where nothing failed and too little is known it is extended, as often as the release file lets it; where signatures
    are missing it goes on until they have been waited for; a person is asked about all else.
    """
    release, book = ctx.release, ctx.ledger
    live = release.live_at or now
    until = min(now, release.watch_until or now)
    probes = watching.counting(book.evidence.probes(release.id, live))
    verdict = verdict_on(Watched(ctx), probes, book.evidence.looks(release.id), live, until, findings)
    record = {
        **verdict.evidence,
        "stage": f"the first {show_seconds(ctx.file.watch.for_)}",
        "seen": verdict.seen,
        "ended": verdict.ended.value,
        "final": not ctx.file.watch.then,
        "judged": {"from": live.isoformat(), "until": until.isoformat(), "probes": len(probes)},
    }
    if verdict.may_mend and (longer := _extension(ctx)) is not None:
        return _extend(ctx, verdict, record, longer)
    if verdict.ended is Ended.STABLE and (awaited := _unsigned(ctx)):
        ask(ctx, STABLE)
        if now < until + timedelta(seconds=ctx.file.sign_off.expires):
            return f"stable by the numbers; awaits {', '.join(awaited)}"
        unsigned = f"stable by the numbers, but nobody gave {', '.join(awaited)}"
        verdict = replace(verdict, ended=Ended.INCONCLUSIVE, seen=unsigned)
        record |= {"seen": unsigned, "ended": verdict.ended.value}
    stable = verdict.ended is Ended.STABLE
    after = State.STABLE if stable else State.NEEDS_PERSON
    text = f"{verdict.ended}: {verdict.seen}"
    claim = book.releases.seize(
        release.id,
        State.WATCHING,
        after,
        holder(),
        note=text,
        tell=tell(ctx, after, text, figures_of(verdict)),
        verdict=verdict.ended.value,
    )
    book.evidence.looked(release.id, SOURCE, "passed" if stable else "unknown", record, due_at=release.watch_until)
    if stable:
        done = context_of(claim)
        steps = done.file.rollout.finish(done.site(done.release.version))
        end_old_version(partial(do, done, "watch", steps), done, now)
    book.releases.let_go(claim)
    return verdict.seen


def verdict_on(
    watched: Watched,
    probes: Sequence[Probe],
    looks: Sequence[Look],
    live: datetime,
    until: datetime,
    findings: Sequence[Finding],
) -> WatchVerdict:
    """Return the verdict on the first stage by all that was on record at its end: probes since it went live, looks.

    ``findings`` are those of the last look. Where no probes are made, the looks of the monitor count as such.
    """
    file = watched.ctx.file
    monitor = [look for look in looks if look.source == "monitor"]
    if file.watch.probe is None:
        probes = [Probe(min(look.at, until), Outcome(look.outcome)) for look in monitor if look.findings["checks"]]
    by_trigger = [look for source in ("guard", "monitor") for look in looks if look.source == source]
    moments = {name for names in file.watch.at.values() for name in names}
    deciding = [*file.checks.watch, *(file.check(name) for name in sorted(moments))]
    return watch_verdict(
        probes,
        live,
        until,
        watched.interval,
        findings=[*findings, *fired_in(by_trigger, findings), *watching.judge_outages(watched, probes)],
        critical=last_outcomes(monitor, deciding),
        criteria=criteria_of(file),
        baseline=watched.baseline,
    )


def _unsigned(ctx: Context) -> list[str]:
    """Return the signatures without which the release is not stable, whatever the numbers say."""
    gates = [gate for gate in (LIVE, STABLE) if ctx.file.signers(gate)]
    return [one for gate in gates for one in standing_of(ctx, gate).awaits]


def _extension(ctx: Context) -> datetime | None:
    """Return until when the watch may be extended, or None if it was so as often as it may be."""
    plan, until = ctx.file.watch.success, ctx.release.watch_until
    before = [
        one for one in ctx.ledger.evidence.looks(ctx.release.id, SOURCE) if one.findings.get("ended") == "extended"
    ]
    seconds = plan.extend * ctx.file.watch.for_
    if until is None or not seconds or len(before) >= plan.extensions:
        return None
    return until + timedelta(seconds=seconds)


def _extend(ctx: Context, verdict: WatchVerdict, record: Mapping[str, Any], until: datetime) -> str:
    release = ctx.release
    text = f"extended until {until:%Y-%m-%d %H:%M:%S} UTC: {verdict.seen}"
    note = report_note(about(release), "too little is known for a verdict", text, figures_of(verdict))
    ctx.ledger.releases.extend_watch(
        release.id,
        release.watch_until or until,
        until,
        {**record, "ended": "extended", "until": until.isoformat(), "final": False},
        tell=[note],
    )
    return text


def criteria_of(file: ReleaseFile) -> Criteria:
    """Return what a release file asks of a stable stage."""
    success = file.watch.success
    return Criteria(file.watch.coverage, success.errors, success.slower, success.floor)


def figures_of(verdict: WatchVerdict) -> list[tuple[str, str]]:
    """Return the numbers of a verdict as a message shows them."""
    evidence: Mapping[str, Any] = verdict.evidence
    clients = evidence.get("clients")
    told = [("clients' requests", f"{clients['failed']} of {clients['asked']} failed")] if clients else []
    return [
        ("probes", f"{evidence['made']} of {evidence['expected']} expected"),
        ("failed", str(evidence["failed"])),
        *told,
    ]


def end_old_version(end: Callable[[], object], ctx: Context, now: datetime) -> None:
    """End the version that was replaced; trouble with that is told to people, and holds nothing up."""
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


def fired_in(looks: Sequence[Look], findings: Sequence[Finding]) -> list[Finding]:
    """Return what fired in any of these looks and does not any more."""
    now = {one.kind for one in findings if one.state is Alarm.FIRES}
    found = [watching.from_json(one) for look in looks for one in look.findings["findings"]]
    return list({one.kind: one for one in found if one.state is Alarm.FIRES and one.kind not in now}.values())


def last_outcomes(looks: Sequence[Look], checks: Sequence[Check]) -> list[Outcome]:
    """Return how each check that decides came out last in these looks; one that was never made is unknown."""
    last: dict[str, Outcome] = {}
    for look in looks:
        last |= {name: Outcome(outcome) for name, outcome in look.findings["checks"].items()}
    return [last.get(check.name, Outcome.UNKNOWN) for check in checks if not check.advisory]
