"""The steps of the rollback: the schema by its proven way, the code by the rollout's own steps, then the checks."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from tasks.acting import act, do, do_one
from tasks.checking import look_at, require
from tasks.context import Context, context_of, holder, ledger
from tasks.domain import archive
from tasks.domain.errors import GoliveError, NeedsPerson, Refused
from tasks.domain.outcome import Outcome
from tasks.domain.release import MUTATING, State
from tasks.domain.way_back import WayBack
from tasks.driving import advance, person, shown, take_over
from tasks.ledger.ledger import Ledger
from tasks.ledger.models import Rehearsal, Release
from tasks.ledger.releases import Claim
from tasks.migrate import MIGRATE_PRODUCTION
from tasks.rehearse import migrated
from tasks.restore import reopen, swap_in_restored, written_since
from tasks.rollouts import Step
from tasks.settings import Settings
from tasks.sources import placed
from tasks.telling import tell_of

PHASE = "rollback"
TAKE_BACK = "take the schema back"
RESTORE = "restore the database"
_UNDOING = frozenset({TAKE_BACK, RESTORE})
"""Steps that are made only if some of the version's migration was in production."""
_FROM = MUTATING | {State.NEEDS_PERSON, State.STABLE}


def release_to_roll_back(system: str, release: str) -> Release:
    """Return the release named, or else the newest one of the system that touched production; raises `Refused`."""
    book = ledger(Settings.from_environment())
    if release:
        return book.releases.get(release)
    newest = _newest_in_production(book, system)
    if newest is None:
        raise Refused(f"no release of {system} has touched production", do="name a release: golive status lists them")
    return newest


def _newest_in_production(book: Ledger, system: str) -> Release | None:
    touched = (row for row in book.releases.latest(system, limit=1000) if row.mutation_started_at is not None)
    return next(touched, None)


def begin(release_id: str, *, reason: str, automatic: bool, started_by: str) -> Claim:
    """Take hold of a release in order to take it back; of several that try at once, one succeeds.

    An ``automatic`` one begins only where the triggers are armed; one that was left half done only a person resumes.
    Raises `Refused` if production was never touched or the release is not there any more, and `NeedsPerson` for a
    second automatic rollback.
    """
    settings = Settings.from_environment()
    book = ledger(settings)
    row = book.releases.get(release_id)
    if row.mutation_started_at is None:
        raise Refused(
            f"{release_id} has not touched production", expected="something to take back", do="nothing: it is as it was"
        )
    state = State(row.state)
    if state is State.ROLLING_BACK and not automatic:
        return take_over(book, row)
    if automatic and row.automatic_rollback_at is not None and state in _FROM:
        raise NeedsPerson(
            f"{release_id} was already rolled back by itself at {row.automatic_rollback_at:%H:%M}",
            expected="one automatic rollback for each release",
            do="a person decides: golive rollback, or golive accept",
        )
    if state not in (allowed := MUTATING if automatic else _FROM):
        raise Refused(
            f"{release_id} is {state}",
            expected=f"one of {', '.join(sorted(allowed))}",
            do=f"to go to another version, release it: golive release {row.system} VERSION",
        )
    newest = _newest_in_production(book, row.system)
    if newest is not None and newest.id != release_id:
        # Its way back was proven from the schema and the version of then.
        raise Refused(
            f"{newest.id} ({newest.version}) has changed production since {release_id}",
            expected="the newest release that touched production",
            do=f"roll that one back, or release the version you want: golive release {row.system} VERSION",
        )
    note = f"{'automatic' if automatic else person(started_by)}: {reason}"
    values = {"automatic_rollback_at": book.evidence.now()} if automatic else {}
    return book.releases.seize(
        release_id,
        state,
        State.ROLLING_BACK,
        holder(),
        note=note,
        tell=tell_of(row, State.ROLLING_BACK, note),
        **values,
    )


@act
def require_previous(claim: Claim) -> str:
    """Return the version to go back to; raises `NeedsPerson` if there is none, before anything is taken back."""
    previous = context_of(claim).release.previous_version
    if previous is None:
        raise NeedsPerson(
            "no version is on record that served before this one",
            expected="a previous version",
            do="release a good version, or stop this one by hand",
        )
    return previous


@act
def undo_schema(claim: Claim, *, accept_loss: bool) -> Mapping[str, Any]:
    """Take the schema back by the way that the rehearsal has proven.

    Raises `NeedsPerson` with the number of changed rows when only a restore is left and nobody accepted the loss.
    """
    ctx = context_of(claim)
    rehearsal = _rehearsal(ctx)
    if rehearsal is None:
        return {"way": "none", "why": "no migration was rehearsed, so none was run"}
    if WayBack(rehearsal.plan) is WayBack.RESTORE:
        reopen(ctx)
    way, names = _way(ctx, rehearsal)
    if way is WayBack.KEEP or not names:
        return {"way": WayBack.KEEP.value, "why": rehearsal.detail["why"], "applied": names}
    if way is WayBack.DOWNGRADE:
        step = Step(TAKE_BACK, lambda: migrated(ctx.file.migration.downgrade(ctx.target(), names)))
        return {"way": way.value, **do_one(ctx, PHASE, step)}
    return {"way": way.value, **_restore(ctx, accept_loss=accept_loss)}


def _way(ctx: Context, rehearsal: Rehearsal) -> tuple[WayBack, list[str]]:
    """Return the way back and the migrations that were really applied.

    A migration that stopped half way was not rehearsed with the old version, so keeping it is not proven: it is taken
    down if that way is.
    """
    planned = list(rehearsal.detail["pending"])
    pending = set(ctx.file.migration.pending(ctx.target())) if planned else set()
    applied = [name for name in planned if name not in pending]
    way = WayBack(rehearsal.plan)
    if way is WayBack.KEEP and 0 < len(applied) < len(planned):
        exact = Outcome(rehearsal.detail["downgrade"]["exact"]) is Outcome.PASSED
        way = WayBack.DOWNGRADE if exact else WayBack.RESTORE
    return way, applied


def _restore(ctx: Context, *, accept_loss: bool) -> Mapping[str, Any]:
    found = ctx.ledger.evidence.backup_of(ctx.release.id)
    if found is None:
        raise NeedsPerson("no proven backup of this release", do="restore by hand: golive status shows the backups")
    taken = archive.load(Path(found.location))
    lost = written_since(ctx, taken)
    if not accept_loss and lost != 0:
        count = "an unknown number of" if lost is None else str(lost)
        raise NeedsPerson(
            f"the only proven way back is the restore of {found.location}, which loses {count} changed rows",
            expected="a person who accepts that",
            do=f"golive rollback --release {ctx.release.id} --accept-loss",
        )
    step = Step(RESTORE, lambda: {"counted_before": lost, **swap_in_restored(ctx, taken)})
    return do_one(ctx, PHASE, step)


@act
def roll_code_back(claim: Claim) -> list[Mapping[str, Any]]:
    """Hand over to the previous version by the same steps that bring any version into service."""
    ctx = context_of(claim)
    previous = require_previous.fn(claim)
    if placed(ctx.target(previous), previous) is None:
        # Only then: the way back must not depend on a source that may be away or have lost the version.
        ctx.file.source.fetch(ctx.target(previous), previous)
    return do(ctx, PHASE, ctx.file.rollout.steps(ctx.site(previous), previous))


@act
def check_previous(claim: Claim) -> int:
    """Check that the previous version serves as it should, and return how many checks said so."""
    ctx = context_of(claim)
    previous = ctx.release.previous_version or ""
    serving = ctx.file.rollout.serving(ctx.site(previous))
    if serving != previous:
        raise NeedsPerson(f"{serving or 'nothing'} serves after the rollback", expected=previous)
    seen = look_at(ctx, PHASE, ctx.file.checks.compatibility, ctx.target(previous))
    require(seen, f"{previous} after the rollback")
    return len(seen)


@act
def finish_rollback(claim: Claim, reason: str) -> None:
    """Stop the bad version, block it with its reason, and put on record that the release was rolled back.

    A version of which nothing ever came into production, because a lock was not granted, is not held to be bad.
    """
    ctx = context_of(claim)
    previous = ctx.release.previous_version or ""
    do(ctx, PHASE, ctx.file.rollout.finish(ctx.site(previous)))
    if _was_in_production(ctx):
        by = f"rollback of {ctx.release.id}"
        ctx.ledger.releases.block(ctx.file.system, ctx.release.version, by=by, reason=reason)
    advance(claim, State.ROLLED_BACK, reason)


def _was_in_production(ctx: Context) -> bool:
    """Tell whether the version's schema or its code ever changed production, as far as the steps on record say."""
    for one in ctx.ledger.releases.steps(ctx.release.id):
        if one.event == "started" and one.mutates and (one.phase == "deploy" or one.name in _UNDOING):
            return True
        if one.event == "done" and one.phase == "migrate" and one.name == MIGRATE_PRODUCTION:
            return True
    return False


def give_to_person(claim: Claim, error: BaseException) -> None:
    """Put on record that the rollback did not come to its end and a person must decide."""
    with suppress(GoliveError):
        advance(claim, State.NEEDS_PERSON, shown(claim, error))


def _rehearsal(ctx: Context) -> Rehearsal | None:
    own = ctx.ledger.evidence.rehearsal(ctx.release.id)
    if own is not None:
        return own
    fingerprint = ctx.file.migration.fingerprint(ctx.target())
    return ctx.ledger.evidence.rehearsal_of(ctx.file.system, ctx.release.version, fingerprint)
