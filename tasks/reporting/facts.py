"""Gathers from the ledger all that a report tells of a release."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from tasks.domain.errors import ReleaseFileError
from tasks.domain.gates import GO, standing
from tasks.domain.outcome import Outcome
from tasks.domain.release import State
from tasks.domain.statistics import percentile
from tasks.domain.triggers import Errors, Slower
from tasks.ledger import models
from tasks.ledger.ledger import Ledger
from tasks.ledger.record import BUNDLE, WORKLOAD, Record
from tasks.reporting import deriving, movements, stages
from tasks.reporting.checklist import filled_in
from tasks.reporting.missing import not_measured
from tasks.reporting.values import (
    Decision,
    Event,
    Limits,
    Lock,
    LookRun,
    Period,
    Proof,
    Rehearsed,
    ReleaseFacts,
    Sent,
    Signature,
    StepRun,
    Verdict,
    WayBack,
)
from tasks.reporting.words import PLAN_WORDS, label, verdict_of
from tasks.spec import loading
from tasks.spec.release_file import ReleaseFile

_PROOF_TOLD = {"tables", "manifest", "manifest_sha256", "sha256", "restore_seconds"}

__all__ = ["ReleaseFacts", "facts_of", "gather"]


def gather(ledger: Ledger, release_id: str) -> ReleaseFacts:
    """Return all that the ledger holds of a release; raises `NotFound` and `LedgerUnreachable`."""
    return facts_of(ledger.record(release_id))


def facts_of(record: Record) -> ReleaseFacts:
    """Return what a record tells; it depends on nothing else."""
    release, now = record.release, record.as_of
    moves = record.of(models.Move)
    steps = deriving.steps_of(record.of(models.Step))
    measurements = record.of(models.Measurement)
    looks = [row for row in record.of(models.Look) if row.source not in {BUNDLE, WORKLOAD}]
    baselines = {row.name: row.detail for row in record.of(models.Baseline) if row.name != WORKLOAD}
    periods = deriving.periods_of(moves, now)
    watched_until = next((p.ended for p in reversed(periods) if p.name == State.WATCHING and p.ended), None)
    probes = sorted(record.of(models.Probe), key=lambda row: row.at)
    probing = deriving.probing_of(probes, release.live_at, watched_until or release.ended_at or now)
    backup = next((row for row in reversed(record.of(models.Backup)) if row.proven), None)
    rehearsal = next(reversed(record.of(models.Rehearsal)), None)
    facts = ReleaseFacts(
        id=release.id,
        system=release.system,
        version=release.version,
        previous=release.previous_version,
        scope=release.scope,
        state=release.state,
        verdict=verdict_of(
            release.state,
            release.verdict,
            moves[-1].note if moves else "",
            touched=release.mutation_started_at is not None,
        ),
        started_by=release.started_by,
        reason=release.reason,
        file=release.file,
        identity=release.identity,
        plan_hash=release.plan_hash,
        created=release.created_at,
        live=release.live_at,
        ended=release.ended_at,
        gathered=now,
        epochs=tuple(sorted({row.epoch for row in moves if row.epoch} | {step.epoch for step in steps})),
        periods=periods,
        steps=steps,
        checks=deriving.checks_of(measurements),
        locks=_locks(rehearsal, steps),
        lock_limit=_lock_limit(rehearsal),
        migration=_migration(periods, steps),
        probing=probing,
        comparisons=deriving.comparisons_of(baselines, measurements, probing),
        looks=deriving.looks_of(looks),
        stages=stages.stages_of(looks, moves),
        statuses=stages.statuses_of(looks),
        backup=_proof(backup),
        rehearsal=_rehearsed(rehearsal),
        way_back=_way_back(rehearsal, periods, looks),
        signatures=tuple(
            Signature(row.at, row.gate, row.role, row.person, row.decision, row.reason, row.plan_hash, row.via)
            for row in record.of(models.Approval)
        ),
        messages=_messages(record),
        decisions=_decisions(moves, deriving.looks_of(looks)),
        events=_events(release.live_at, moves, looks),
    )
    facts = movements.held(facts, record, baselines)
    facts = replace(facts, not_measured=not_measured(facts, any_baseline=bool(baselines)))
    try:
        file = loading.recorded(release.file_text, release.file)
        facts = replace(facts, limits=_limits(file, baselines), verdict=_awaiting(facts, file, record))
        return replace(facts, checklist=filled_in(facts, file, release.checklist_text))
    except ReleaseFileError as error:
        untold = (f"The checklist could not be filled in: {error}",) if release.checklist_text else ()
        return replace(facts, not_measured=(*facts.not_measured, *untold))


def _awaiting(facts: ReleaseFacts, file: ReleaseFile, record: Record) -> Verdict:
    """Return the verdict; of a release that waits for signatures it says which are missing by now."""
    if facts.state != State.AWAITING_GO:
        return facts.verdict
    given = [row for row in record.of(models.Approval) if row.gate == GO]
    expires = timedelta(seconds=file.sign_off.expires)
    asked = [row.plan_hash for row in record.of(models.GateEvent) if row.gate == GO and row.event == "opened"]
    stands = standing(file.sign_off.of(GO), given, asked[-1] if asked else "", facts.gathered, expires)
    return replace(facts.verdict, why=f"awaits {', '.join(stands.awaits)}" if stands.awaits else facts.verdict.why)


def _limits(file: ReleaseFile, baselines: Mapping[str, Mapping[str, Any]]) -> Limits:
    """Return what the probes are held against, by the triggers of the release file."""
    found = deriving.latencies_of(baselines.get(file.watch.probe.check, {})) if file.watch.probe is not None else ()
    before = percentile(found, 0.5) if found else None
    limits = Limits(before=before)
    for trigger in file.rollback.when:
        if isinstance(trigger, Errors):
            limits = replace(limits, errors=trigger.above, window=float(trigger.for_))
        elif isinstance(trigger, Slower) and before is not None:
            limits = replace(limits, slower=max((1 + trigger.than) * before, before + trigger.floor))
    return limits


def _messages(record: Record) -> tuple[Sent, ...]:
    """Return the messages, with whether a notifier has delivered each, and how one failed that has given it up."""
    ended = record.of(models.Delivery)
    arrived = {row.message_id for row in ended if row.outcome == "delivered"}
    lost = {row.message_id: f"{row.notifier}: {row.error}" for row in ended if row.outcome == "dead"}
    return tuple(
        Sent(row.at, row.kind, row.text, arrived=row.id in arrived, lost=lost.get(row.id, ""))
        for row in record.of(models.Message)
    )


def _migration(periods: Sequence[Period], steps: Sequence[StepRun]) -> float | None:
    took = [step.took for step in steps if step.phase == "migrate" and step.mutates and step.took is not None]
    if took:
        return sum(took)
    return next((period.seconds for period in periods if period.name == State.MIGRATE and period.ended), None)


def _locks(rehearsal: models.Rehearsal | None, steps: Sequence[StepRun]) -> tuple[Lock, ...]:
    held: list[Any] = []
    for step in steps:
        found = step.detail.get("locks") if step.phase == "migrate" else None
        held += found if isinstance(found, list) else []
    return deriving.locks_of(_upgrade(rehearsal).get("locks"), "rehearsal") + deriving.locks_of(held, "production")


def _upgrade(rehearsal: models.Rehearsal | None) -> dict[str, Any]:
    found = rehearsal.detail.get("upgrade") if rehearsal else None
    return found if isinstance(found, dict) else {}


def _lock_limit(rehearsal: models.Rehearsal | None) -> float | None:
    if rehearsal is None:
        return None
    return deriving.first_number(rehearsal.detail.get("limits"), "lock")


def _proof(row: models.Backup | None) -> Proof | None:
    if row is None:
        return None
    tables = row.proof.get("tables")
    named = tables if isinstance(tables, dict) else {}
    manifest = row.proof.get("manifest")
    sums = [row.proof.get("manifest_sha256"), manifest, row.proof.get("sha256")]
    if isinstance(manifest, dict):
        sums.insert(0, manifest.get("sha256"))
    return Proof(
        kind=row.kind,
        location=row.location,
        bytes=row.bytes,
        took=row.took,
        at=row.at,
        tables=tuple((name, _rows(one), _hash(one)) for name, one in sorted(named.items())),
        manifest=next((one for one in sums if isinstance(one, str)), ""),
        restored=deriving.first_number(row.proof, "restore_seconds"),
        rest={
            key: value for key, value in row.proof.items() if key not in _PROOF_TOLD and value not in (row.location, [])
        },
    )


def _rows(table: Any) -> int | None:
    found = deriving.first_number(table, "rows")
    return None if found is None else int(found)


def _hash(table: Any) -> str:
    found = table.get("hash") if isinstance(table, dict) else None
    return "" if found is None else str(found)


def _rehearsed(row: models.Rehearsal | None) -> Rehearsed | None:
    if row is None:
        return None
    took = deriving.first_number(_upgrade(row), "took", "seconds")
    return Rehearsed(row.at, row.fingerprint, took, row.detail)


def _way_back(row: models.Rehearsal | None, periods: Sequence[Period], looks: Sequence[models.Look]) -> WayBack | None:
    back = [period.seconds for period in periods if period.name == State.ROLLING_BACK and period.ended]
    taken = sum(back) if back else None
    if row is None:
        return WayBack("", "none was rehearsed", None, taken) if back else None
    rehearsed = deriving.first_number(row.detail, "seconds")
    return WayBack(row.plan, PLAN_WORDS.get(row.plan, row.plan), rehearsed, taken, deriving.loss_in(looks))


def _decisions(moves: Sequence[models.Move], looks: Sequence[LookRun]) -> tuple[Decision, ...]:
    made = [
        Decision(
            move.at,
            f"{label(move.before) or 'nothing'} → {label(move.after)}".replace("_", " "),
            move.by,
            move.note,
            move.epoch,
        )
        for move in moves
    ]
    for look in looks:
        if look.outcome != Outcome.PASSED:
            found = "; ".join(f"{name}: {said}" for name, said in look.findings)
            times = f" × {look.times}" if look.times > 1 else ""
            made.append(Decision(look.first, f"judged {look.outcome}{times}", look.source, found))
    return tuple(sorted(made, key=lambda decision: decision.at))


def _events(live: datetime | None, moves: Sequence[models.Move], looks: Sequence[models.Look]) -> tuple[Event, ...]:
    events = [Event(live, "live")] if live else []
    for name, holds in (
        ("trigger", lambda look: look.outcome == "fires" or _fires(look.findings)),
        ("look failed", lambda look: look.outcome == Outcome.FAILED and not _fires(look.findings)),
    ):
        first = next(filter(holds, looks), None)
        events += [Event(first.at, name)] if first else []
    names = {State.ROLLING_BACK: "rollback", State.ROLLED_BACK: "rolled back"}
    events += [Event(move.at, names[State(move.after)]) for move in moves if move.after in names]
    return tuple(sorted(events, key=lambda event: event.at))


def _fires(findings: Any) -> bool:
    if isinstance(findings, dict):
        return findings.get("state") == "fires" or any(_fires(one) for one in findings.values())
    return isinstance(findings, list) and any(_fires(one) for one in findings)
