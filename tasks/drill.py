"""The steps of the restore drill: the newest backup of each system is restored and compared once more."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any

from tasks.acting import act, act_once, do_one
from tasks.apart import NO_VERSION, last_of, open_apart
from tasks.context import Context, context_of, holder, is_gone, ledger, observing, world
from tasks.courier import running
from tasks.domain.counting import many
from tasks.domain.errors import (
    BackupNotProven,
    ChecksFailed,
    GoliveError,
    Inconclusive,
    LedgerError,
    OutsideError,
    UserError,
)
from tasks.domain.messages import Alert, alert_note
from tasks.domain.outcome import Outcome
from tasks.domain.release import State
from tasks.domain.room import require_room
from tasks.domain.units import show_seconds
from tasks.driving import driving, shown, take_over
from tasks.keeping import opened
from tasks.ledger.evidence import DRILL
from tasks.ledger.ledger import Ledger
from tasks.ledger.models import Backup
from tasks.ledger.releases import Claim
from tasks.proving import newest_backup, plan_of, prove_again
from tasks.rollouts import Step
from tasks.scratch import Scratch
from tasks.settings import Settings
from tasks.spec import loading
from tasks.telling import about, courier_for

SCOPE = "restore-drill"
_COPY_GROWS = 10
"""How many times its own size the copy of a backup may take, where production cannot be asked."""


@dataclass(frozen=True)
class Drilled:
    """What a drill came to; ``seen`` is a sentence for people, ``counted`` how much that rests on, if it is known."""

    system: str
    outcome: Outcome
    seen: str
    counted: str = ""


def systems_to_drill(system: str) -> list[str]:
    """Return the system that is named, or all that have a release file; raises `UnknownSystem`, or `UserError`."""
    directory = Settings.from_environment().systems
    if system:
        loading.find_release_file(directory, system)
        return [system]
    found = loading.systems_in(directory)
    if not found:
        raise UserError(f"no system in {directory}", expected="at least one release file", do="golive init NAME")
    return found


@act_once
def drill(system: str, newest_within: float, started_by: str) -> Drilled:
    """Prove the newest backup of a system once more, put that on record, and tell people unless all is well.

    ``newest_within`` is in seconds. One system's trouble does not keep the others from being drilled, so only what ails
    the ledger is raised.
    """
    try:
        return _drill(system, newest_within, started_by)
    except LedgerError:
        raise
    except Exception as error:  # noqa: BLE001 - as above
        drilled = Drilled(system, Outcome.UNKNOWN, world().secrets.mask(f"{type(error).__name__}: {error}"))
        with suppress(GoliveError):  # a release file on record may not be read any more either
            _tell_beside(drilled, newest_within)
        return drilled


def _tell_beside(drilled: Drilled, newest_within: float) -> None:
    """Tell people of a drill that could not be put on record.

    Where a system has never been on record, nothing but its broken release file says whom to tell: then whoever is told
    of the system that was at work last.
    """
    book = ledger(Settings.from_environment())
    rows = [last_of(book, drilled.system), *book.releases.latest(limit=1)]
    row = next((one for one in rows if one is not None), None)
    world().progress(f"{drilled.system}: {drilled.seen}")
    if row is not None:
        ctx = observing(row)
        named = replace(drilled, seen=f"{drilled.system}: {drilled.seen}")
        with running(courier_for(ctx)):
            book.releases.tell(row.id, _alert(ctx, named, newest_within))


def _drill(system: str, newest_within: float, started_by: str) -> Drilled:
    book = ledger(Settings.from_environment())
    _end_dead(book, system)
    one = newest_backup(book, system)
    last = book.releases.get(one.release_id) if one is not None else last_of(book, system)
    version = last.version if last is not None else NO_VERSION
    reason = f"backup {one.id}" if one is not None else "there is no backup"
    opened = open_apart(system, SCOPE, version=version, started_by=started_by, reason=reason)
    with _quietly(opened) as claim:
        drilled = _judged(claim, one, newest_within)
        ctx = context_of(claim)
        well = drilled.outcome is Outcome.PASSED
        after = State.DONE if well else State.STOPPED
        tell = [] if well else [_alert(ctx, drilled, newest_within)]
        ctx.ledger.releases.move(claim, State.RUNNING, after, note=drilled.seen, tell=tell)
        return drilled


@contextmanager
def _quietly(opened: Claim) -> Iterator[Claim]:
    """Drive a drill without telling people that it runs."""
    with driving(opened) as claim:
        ctx = context_of(claim)
        ctx.ledger.releases.move(claim, State.PLANNED, State.RUNNING)
        try:
            yield claim
        except BaseException as error:
            with suppress(GoliveError):
                ctx.ledger.releases.move(claim, State.RUNNING, State.STOPPED, note=shown(claim, error))
            raise


def _judged(claim: Claim, one: Backup | None, newest_within: float) -> Drilled:
    """Return what is to be said of a system's newest backup, and put it on record."""
    ctx = context_of(claim)
    if one is None:
        return _recorded(ctx, None, Outcome.FAILED, ["it has no backup: take one with golive backup"], {})
    found: Mapping[str, Any] = {}
    outcome, faults = Outcome.PASSED, []
    age = (ctx.ledger.evidence.now() - one.at).total_seconds()
    if age > newest_within:
        outcome = Outcome.FAILED
        faults.append(f"its newest backup is {show_seconds(age)} old, at most {show_seconds(newest_within)} is allowed")
    try:
        found = prove_newest(claim, one.id)
    except BackupNotProven as error:
        outcome = Outcome.FAILED
        faults.append(f"its newest backup is not proven: {shown(claim, error)}")
    except LedgerError:
        raise
    except GoliveError as error:
        outcome = Outcome.FAILED if outcome is Outcome.FAILED else Outcome.UNKNOWN
        faults.append(f"its newest backup could not be restored: {shown(claim, error)}")
    return _recorded(ctx, one, outcome, faults, found)


def _recorded(
    ctx: Context, one: Backup | None, outcome: Outcome, faults: Sequence[str], found: Mapping[str, Any]
) -> Drilled:
    well = f"{found['tables']} tables, {found['rows']} rows as proven" if found else ""
    took = f" after a restore of {show_seconds(found['restore_seconds'])}" if found else ""
    what = f"backup {one.id} of {one.at:%Y-%m-%d %H:%M}: " if one is not None else ""
    seen = what + "; ".join([*faults, *([well + took] if well else [])])
    findings = {"backup": one.id if one is not None else None, "seen": seen, **found}
    ctx.ledger.evidence.looked(ctx.release.id, DRILL, outcome, findings)
    counted = f"{many(found['tables'], 'table')} compared" if found else "" if one is not None else "0 backups"
    return Drilled(ctx.file.system, outcome, seen, counted)


@act
def prove_newest(claim: Claim, backup: int) -> Mapping[str, Any]:
    """Restore a backup in the scratch place and hold all of it against the record of its first proof."""
    ctx = context_of(claim)
    one = ctx.ledger.evidence.backup(backup)

    def prove() -> Mapping[str, Any]:
        with opened(ctx, one) as taken:
            place = Scratch(ctx, major=taken.server_version // 10000)
            if place.embedded:
                require_room(ctx.world, place.directory, _room(ctx, one), ctx.file.backup.headroom)
            try:
                return prove_again(ctx.world, one, plan_of(ctx.ledger, ctx.settings, one), taken, place)
            finally:
                with suppress(GoliveError):
                    place.remove()

    return do_one(ctx, SCOPE, Step("restore and compare once more", prove, mutates=False))


def _room(ctx: Context, one: Backup) -> int:
    try:
        return ctx.file.backup.room(ctx.world, ctx.target().dsn).copies
    except OutsideError:
        return _COPY_GROWS * one.bytes


def _alert(ctx: Context, drilled: Drilled, newest_within: float) -> Any:
    one = Alert(
        title="the restore drill has failed"
        if drilled.outcome is Outcome.FAILED
        else "the restore drill has come to nothing",
        seen=drilled.seen,
        limit=f"a backup of the last {show_seconds(newest_within)} that restores to what was backed up",
        since=ctx.ledger.evidence.now(),
        next_act=f"nothing: a person takes a new one with golive backup {drilled.system}, then golive drill",
        counted=drilled.counted,
    )
    return alert_note(about(ctx.release, ctx.file.runbook), one)


def _end_dead(book: Ledger, system: str) -> None:
    """End the drills of a system whose process died, and remove their scratch copies."""
    for row in book.releases.in_state(State.RUNNING):
        if (row.system, row.scope) == (system, SCOPE) and row.holder != holder() and is_gone(row.holder):
            claim = take_over(book, row)
            with suppress(GoliveError):
                Scratch(context_of(claim)).remove()
            book.releases.move(claim, State.RUNNING, State.STOPPED, note="its process died")


def conclude(drills: Sequence[Drilled]) -> str:
    """Return what all drills came to; raises `ChecksFailed` or `Inconclusive` unless every one passed."""
    lines = [f"{one.system}: {one.seen}" for one in drills]
    bad = [line for one, line in zip(drills, lines, strict=True) if one.outcome is not Outcome.PASSED]
    if not bad:
        return "\n".join(lines)
    kind = ChecksFailed if any(one.outcome is Outcome.FAILED for one in drills) else Inconclusive
    raise kind(
        f"{len(bad)} of {len(drills)} drills did not pass: {'; '.join(bad)}",
        expected="the newest backup of each system to restore to what was backed up",
        do="take and prove new backups: golive backup SYSTEM",
    )
