"""When a look of the watch must be told to people, and how: only what has changed, and not each swing of what flaps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from tasks.context import Context
from tasks.domain.counting import many, of_finding, of_look
from tasks.domain.messages import Alert
from tasks.domain.outcome import Measurement, Outcome
from tasks.domain.triggers import Alarm, Finding, limit_of
from tasks.domain.watch import signal
from tasks.ledger.models import Look
from tasks.moving import moved_most
from tasks.telling import alert

TITLES = {
    Outcome.PASSED: "the watch passes again",
    Outcome.FAILED: "the watch has failed",
    Outcome.UNKNOWN: "the watch learns too little",
}


def outcome_of(findings: Sequence[Finding], checks: Sequence[Outcome]) -> Outcome:
    """Return what a look comes to: failed if anything fires or fails, unknown if anything is, else passed."""
    if any(one.state is Alarm.FIRES for one in findings) or Outcome.FAILED in checks:
        return Outcome.FAILED
    if any(one.state is Alarm.UNKNOWN for one in findings) or Outcome.UNKNOWN in checks:
        return Outcome.UNKNOWN
    return Outcome.PASSED


def loud(findings: Sequence[Finding], seen: Sequence[Measurement]) -> dict[str, str]:
    """Return what people must hear of, by a name that stays the same from look to look."""
    found = {f"{one.kind} {one.state}": one.seen for one in findings if one.state in (Alarm.FIRES, Alarm.UNKNOWN)}
    bad = [one for one in seen if one.outcome is not Outcome.PASSED and not one.advisory]
    return {**found, **{f"{one.check} {one.outcome}": f"{one.check}: {one.reading.seen}" for one in bad}}


def counted(findings: Sequence[Finding], seen: Sequence[Measurement], looks: Sequence[Look]) -> str:
    """Return how many measurements say what `loud` tells; ``looks`` are those before this one."""
    return of_look(findings, seen, [look.findings["checks"] for look in looks])


def counted_for(finding: Finding, seen: Sequence[Measurement], looks: Sequence[Look]) -> str:
    """Return how many measurements say what a finding says; ``looks`` are those before this one."""
    return of_finding(finding, seen, [look.findings["checks"] for look in looks])


def counted_unmade(looks: Sequence[Look]) -> str:
    """Return how many looks could not be made up to and with this one, ``looks`` being those before it."""
    row = 1
    for look in reversed(looks):
        if not any(one["kind"] == "look" for one in look.findings["findings"]):
            break
        row += 1
    return f"{many(row, 'look')}{' in a row' if row > 1 else ''} could not be made"


def told_before(what: Mapping[str, str], outcome: Outcome, looks: Sequence[Look]) -> bool:
    """Tell whether people know already, from the looks before, what a look has come to."""
    if not looks:
        return not what
    if signal([Outcome(look.outcome) for look in looks]).flapping:
        return True
    if not what:
        return outcome.value == looks[-1].outcome
    return what.keys() <= _names(looks[-1])


def _names(look: Look) -> set[str]:
    """Return what a look found, by the names that `loud` gives."""
    found = {f"{one['kind']} {one['state']}" for one in look.findings["findings"]}
    return found | {f"{check} {outcome}" for check, outcome in look.findings["checks"].items()}


def _since(what: Mapping[str, str], looks: Sequence[Look], now: datetime) -> datetime:
    """Return when the first of the looks was made that, without one between that did not, found any of this."""
    begun = now
    for look in reversed(looks):
        if not what.keys() & _names(look):
            break
        begun = look.at
    return begun


def alert_of(
    ctx: Context,
    title: str,
    what: Mapping[str, str],
    now: datetime,
    next_act: str,
    next_at: datetime | None,
    looks: Sequence[Look] = (),
    *,
    counted: str,
) -> None:
    """Alert people of what a look has come to, against the limits that the release file sets.

    ``looks`` are those before it, by which it is known since when that is so; ``counted`` is how many measurements say
    so.
    """
    kinds = {name.partition(" ")[0] for name in what}
    limits = "; ".join(limit_of(one) for one in ctx.file.rollback.when if one.kind in kinds)
    alert(
        ctx,
        Alert(
            title=title,
            seen="; ".join(what.values()) or "all checks pass again",
            limit=limits or "all checks pass",
            since=_since(what, looks, now),
            next_act=next_act,
            next_at=next_at,
            evidence=[f"golive status {ctx.release.id}; golive logs {ctx.release.system}"] if what else (),
            moved=moved_most(ctx) if what else (),
            help=_help(ctx, what),
            over=not what,
            counted=counted,
        ),
    )


def _help(ctx: Context, what: Mapping[str, str]) -> list[str]:
    """Return what a person should look at, of each check that is told of."""
    return [
        f"{check.name}: {text}"
        for _, check in ctx.file.checks.every()
        if (text := check.help or check.advice)
        and any(f"{check.name} {outcome}" in what for outcome in (Outcome.FAILED, Outcome.UNKNOWN))
    ]
