"""What stands on the first screen of a report: its figures, and a card each for a DBA, an auditor and an engineer."""

from __future__ import annotations

from dataclasses import dataclass

from tasks.domain.locks import blocks
from tasks.domain.outcome import Outcome
from tasks.domain.units import show_bytes
from tasks.reporting.sections import error_share
from tasks.reporting.values import ReleaseFacts, StepRun, Tone
from tasks.reporting.words import NO_DATA, change, count, counted, duration, tone_of


@dataclass(frozen=True)
class Line:
    """A figure with its name, and what makes it understood."""

    name: str
    value: str
    note: str = ""
    code: bool = False


@dataclass(frozen=True)
class Card:
    """A few lines for one kind of reader."""

    title: str
    lines: tuple[Line, ...]


def figures(facts: ReleaseFacts) -> tuple[Line, ...]:
    """Return the figures that everyone looks for first."""
    probing, back = facts.probing, facts.way_back
    seen = bool(probing.counted)
    down = Line(
        "Downtime",
        (duration(probing.downtime) if probing.downtime else "none seen") if seen else NO_DATA,
        f"{counted(len(probing.outages), 'outage')}; probes every {duration(probing.interval)}" if seen else "no probe",
    )
    failed = Line(
        "Failed probes",
        f"{count(probing.failed)} of {count(probing.counted)}" if seen else NO_DATA,
        ", ".join(error_share(facts)) if seen else "no probe",
    )
    took = Line("Took", duration(facts.seconds), "until now" if facts.ended is None else "from start to end")
    if back is None:
        return took, down, failed, Line("Way back", NO_DATA, "no rehearsal")
    times = [rehearsed_in(facts)] + ([f"taken in {duration(back.taken)}"] if back.taken else [])
    note = "; ".join(filter(None, (", ".join(times), back.words, back.loss)))
    return took, down, failed, Line("Way back", back.plan or "unproven", note)


def rehearsed_in(facts: ReleaseFacts) -> str:
    """Return what the schema's part of the way back took in rehearsal."""
    seconds = facts.way_back.rehearsed if facts.way_back else None
    if seconds is None:
        return "not timed in rehearsal"
    return f"its schema part rehearsed in {duration(seconds)}" if seconds else "nothing to undo in the schema"


@dataclass(frozen=True)
class Trouble:
    """Something that went wrong, and what a person should look at."""

    tone: Tone
    name: str
    seen: str
    help: str = ""


def troubles(facts: ReleaseFacts) -> tuple[Trouble, ...]:
    """Return the checks that came out badly when they were last made, failures first, and the steps that failed."""
    last = {(check.phase, check.name): check for check in facts.checks if not check.advisory}
    bad = sorted(
        (check for check in last.values() if check.outcome is not Outcome.PASSED),
        key=lambda check: (check.outcome is not Outcome.FAILED, -check.at.timestamp()),
    )
    found = [Trouble(tone_of(one.outcome), f"{one.name} ({one.phase})", one.seen, one.help) for one in bad]
    ends = {(step.phase, step.name): step for step in facts.steps}
    failed = [step for step in ends.values() if step.event == "failed"]
    return (*found, *(Trouble(Tone.BAD, f"{one.name} ({one.phase})", _error(one)) for one in failed))


def _error(step: StepRun) -> str:
    return next((str(step.detail[key]) for key in ("seen", "error") if step.detail.get(key)), "it failed")


def cards(facts: ReleaseFacts) -> tuple[Card, Card, Card]:
    """Return the three cards."""
    return Card("Database", _database(facts)), Card("Record", _record(facts)), Card("Service", _service(facts))


def _database(facts: ReleaseFacts) -> tuple[Line, ...]:
    proof, lock = facts.backup, facts.longest_lock
    rehearsed = facts.rehearsal.upgrade if facts.rehearsal else None
    timed = f"rehearsed in {duration(rehearsed)}" if rehearsed is not None else "not timed in rehearsal"
    limit = f", limit {duration(facts.lock_limit)}" if facts.lock_limit is not None else ""
    return (
        Line(
            "Backup",
            f"✓ proven, {show_bytes(proof.bytes)}" if proof else NO_DATA,
            f"{counted(len(proof.tables), 'table')} restored and equal; dump {duration(proof.took)}, "
            f"restore {duration(proof.restored)}"
            if proof
            else "",
        ),
        Line("Migration", duration(facts.migration), timed),
        Line(
            "Longest lock",
            f"{duration(lock.held)}{limit}" if lock else NO_DATA,
            f"{lock.mode} on {lock.relation} ({lock.where}), blocks {blocks(lock.mode)}" if lock else "",
        ),
    )


def _record(facts: ReleaseFacts) -> tuple[Line, ...]:
    signed = [f"{one.person} ({one.role})" for one in facts.signatures if one.decision == "approve"]
    signed += [f"{one.role} waived by {one.person}" for one in facts.signatures if one.decision == "waive"]
    against = [f"{one.person} ({one.role}) refused" for one in facts.signatures if one.decision == "reject"]
    epochs = ", ".join(map(str, facts.epochs))
    driven = (
        f"of the ledger{', taken over on the way' if len(facts.epochs) > 1 else ''}" if epochs else "nobody drove it"
    )
    return (
        Line("Release", facts.id, code=True),
        Line("Plan hash", facts.plan_hash or NO_DATA, code=bool(facts.plan_hash)),
        Line("Signed by", ", ".join(signed + against) or "nobody"),
        Line("Epoch", epochs or "none", driven if epochs else "nobody drove it"),
        Line("Started by", facts.started_by),
    )


def _service(facts: ReleaseFacts) -> tuple[Line, ...]:
    one = next((c for c in facts.comparisons if c.now), None)
    if one is None:
        latency: tuple[Line, ...] = (Line("p50 and p95", NO_DATA, "nothing to hold against a baseline"),)
    else:
        was, now = one.was, one.has
        latency = (
            Line("p50", duration(now.p50), f"{duration(was.p50)} before, {change(was.p50, now.p50)} ({one.check})"),
            Line("p95", duration(now.p95), f"{duration(was.p95)} before, {change(was.p95, now.p95)}"),
        )
    outages = facts.probing.outages
    longest = max(outages, key=lambda outage: outage.seconds, default=None)
    return (
        *latency,
        Line("Error share", *error_share(facts)),
        Line(
            "Outages",
            (count(len(outages)) if outages else "none seen") if facts.probing.counted else NO_DATA,
            f"the longest {longest.lasted}" if longest is not None else "",
        ),
    )
