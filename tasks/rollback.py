"""The steps of the rollback: the schema by its proven way, the code by the rollout's own steps, then the checks."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack, suppress
from typing import Any

from tasks.abandoned import may_carry_on
from tasks.acting import act, act_once, do, do_one
from tasks.checking import look_at, require
from tasks.context import Context, context_of, holder, is_gone, ledger
from tasks.domain.errors import Fenced, GoliveError, NeedsPerson, Refused, SteppedAside, UserError
from tasks.domain.outcome import Outcome
from tasks.domain.release import MUTATING, TERMINAL, State
from tasks.domain.target import Target
from tasks.domain.way_back import WayBack
from tasks.driving import advance, person, shown, take_over
from tasks.everywhere import everywhere
from tasks.holding import held_back
from tasks.keeping import known, opened
from tasks.ledger.ledger import Ledger
from tasks.ledger.models import Rehearsal, Release
from tasks.ledger.models import Step as Begun
from tasks.ledger.releases import Claim
from tasks.migrate import MIGRATE_PRODUCTION
from tasks.migrators import fence_off, only_runner
from tasks.reckoning import require_room_back
from tasks.rehearsing import migrated
from tasks.restore import reopen, require_accepted, swap_in_restored, written_since
from tasks.rollouts import Step
from tasks.settings import Settings
from tasks.sources import archive, placed, show_current
from tasks.spec import loading
from tasks.telling import tell_of

PHASE = "rollback"
TAKE_BACK = "take the schema back"
RESTORE = "restore the database"
_UNDOING = frozenset({TAKE_BACK, RESTORE})
"""Steps that are made only if some of the version's migration was in production."""
_FROM = MUTATING | {State.RUNNING, State.NEEDS_PERSON, State.STABLE}
_GOING_BACK = frozenset({State.ROLLING_BACK, State.ROLLED_BACK})
_PAUSE = 0.2
_LITTLE = 3.0
"""Seconds between two looks at what an ousted process still does, and those that it gets beyond its own limits."""


def _armed(row: Release) -> frozenset[State]:
    """Return the states in which golive may take a release back by itself: once stable, where a later stage says so."""
    stages = loading.recorded(row.file_text, row.file).watch.then
    return MUTATING | {State.STABLE} if any(stage.rollback for stage in stages) else MUTATING


def release_to_roll_back(system: str, release: str) -> Release:
    """Return the release named, or else the newest one of the system that touched production.

    Raises `UserError` for the id of another system's release, and `Refused`.
    """
    book = ledger(Settings.from_environment())
    if release:
        row = book.releases.get(release)
        if row.system != system:
            raise UserError(f"{release} is a release of {row.system}", expected=f"one of {system}", do="correct it")
        return row
    newest = _newest_in_production(book, system)
    if newest is None:
        raise Refused(f"no release of {system} has touched production", do="name a release: golive status lists them")
    return newest


def taken_back_here(system: str) -> str:
    """Return the version that serves again if this very process has rolled a release of the system back, else ""."""
    row = ledger(Settings.from_environment()).releases.moved_last_by(holder())
    mine = row is not None and row.system == system and State(row.state) is State.ROLLED_BACK
    return (row.previous_version or "") if row is not None and mine else ""


def _newest_in_production(book: Ledger, system: str) -> Release | None:
    touched = (row for row in book.releases.latest(system, limit=1000) if row.mutation_started_at is not None)
    return next(touched, None)


def begin(release_id: str, *, reason: str, automatic: bool, started_by: str) -> Claim:
    """Take hold of a release in order to take it back; of several that try at once, one succeeds.

    An ``automatic`` one begins only where the triggers are armed. One that was left half done a person goes on with, or
    golive itself, if that is on record (`left_behind`) and nobody has taken it over since.
    Raises `SteppedAside` if it was rolled back already or another process is at it, `Refused` if production was never
    touched, the release is not there any more or a phase that was started alone still runs, and `NeedsPerson` for a
    second automatic rollback.
    """
    book = ledger(Settings.from_environment())
    try:
        return _taken(book, release_id, reason=reason, automatic=automatic, started_by=started_by)
    except Refused as error:
        if State(book.releases.get(release_id).state) not in _GOING_BACK:
            raise
        raise SteppedAside(error.seen, expected=error.expected, where=error.where, do=error.do) from error


def _taken(book: Ledger, release_id: str, *, reason: str, automatic: bool, started_by: str) -> Claim:
    row = book.releases.get(release_id)
    state = State(row.state)
    if row.mutation_started_at is None:
        ended = state in TERMINAL
        raise Refused(
            f"{release_id} has not touched production",
            expected="something to take back",
            do="nothing: it is as it was" if ended else f"to end it: golive stop {release_id} --by … --reason …",
        )
    if state is State.ROLLING_BACK and (not automatic or may_carry_on(book, row)):
        return take_over(book, row)
    if automatic and row.automatic_rollback_at is not None and state in _FROM:
        raise NeedsPerson(
            f"{release_id} was already rolled back by itself at {row.automatic_rollback_at:%H:%M}",
            expected="one automatic rollback for each release",
            do="a person decides: golive rollback, or golive accept",
        )
    if state not in (allowed := _armed(row) if automatic else _FROM):
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
    if state is State.RUNNING:
        take_over(book, row)
    note = f"{'automatic' if automatic else person(started_by)}: {reason}"
    values = {"automatic_rollback_at": book.evidence.now()} if automatic else {}
    return book.releases.seize(
        release_id,
        state,
        State.ROLLING_BACK,
        holder(),
        note=note,
        tell=tell_of(row, State.ROLLING_BACK, note, moves=book.releases.moves(row.id)),
        **values,
    )


@act_once
def wait_for_ousted(claim: Claim) -> int:
    """Wait until a process that lost this release has ended its step in production; return how many were waited for.

    Such a process stops at its next step, but ends the one at hand. Raises `NeedsPerson` if that takes longer than a
    migration and the readiness of a version may; a person who tries again then is not held up.
    """
    ctx = context_of(claim)
    clock, waited_for = ctx.world.clock, 0
    given_up = clock.monotonic() + max(_patience(ctx), float(ctx.file.rollout.ready.within) + _LITTLE)
    while at_work := _at_work(ctx):
        waited_for = max(waited_for, len(at_work))
        if clock.monotonic() >= given_up:
            raise NeedsPerson(
                "; ".join(f"{who} is still at: {step.name}" for step, who in at_work),
                expected="an end to what it had begun, before anything is taken back",
                do=f"end that process, then: golive rollback {ctx.file.system} --release {ctx.release.id}",
            )
        clock.sleep(_PAUSE)
    return waited_for


def _patience(ctx: Context) -> float:
    """Return the seconds that a migration may take with all its tries for a lock."""
    limits = ctx.file.migration.limits
    return float(limits.duration) + limits.tries * (float(limits.wait) + _LITTLE) + _LITTLE


def _at_work(ctx: Context) -> list[tuple[Begun, str]]:
    """Return the steps that a process may still be at from which the release was taken while it was heard of.

    Who joins a release without a move knows that whoever held it before is dead or silent, so of those nothing is left.
    """
    releases, claim = ctx.ledger.releases, ctx.claim
    moves = releases.moves(claim.release_id)
    holders = {move.epoch: move.by for move in moves}
    seized = {move.epoch - 1 for move in moves if move.after in {State.ROLLING_BACK, State.NEEDS_PERSON}}
    told = max((move.at for move in moves if move.before == State.ROLLING_BACK), default=None)
    found = []
    for step in releases.unfinished(claim.release_id, claim.epoch):
        who = claim.fenced if step.epoch == claim.epoch - 1 else holders.get(step.epoch, "")
        heeded = told is None or step.at > told
        if step.epoch in seized and heeded and who not in {"", holder()} and not is_gone(who):
            found.append((step, who))
    return found


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
def undo_schema(claim: Claim, *, accept_loss: int) -> Mapping[str, Any]:
    """Take the schema back by the way that the rehearsal has proven.

    Raises `NeedsPerson` with the number of changed rows when only a restore is left that loses more of them than
    ``accept_loss``, and with who is at it when another migration of the database does not end.
    """
    ctx = context_of(claim)
    rehearsal = _rehearsal(ctx)
    if rehearsal is None:
        return {"way": "none", "why": "no migration was rehearsed, so none was run"}
    ctx.file.migration.clear(ctx.target())
    if WayBack(rehearsal.plan) is WayBack.RESTORE:
        reopen(ctx)
    with ExitStack() as held:
        # What is applied is known only while nobody else can apply anything.
        if rehearsal.detail["pending"]:
            _become_only_runner(ctx, held)
        way, names = _way(ctx, rehearsal)
    if way is WayBack.KEEP or not names:
        return {"way": WayBack.KEEP.value, "why": rehearsal.detail["why"], "applied": names}
    if way is WayBack.DOWNGRADE:
        with held_back(ctx, PHASE, changes=True) as migrator:
            step = Step(TAKE_BACK, lambda: migrated(migrator.downgrade(ctx.in_turn(), names)))
            return {"way": way.value, **do_one(ctx, PHASE, step)}
    return {"way": way.value, **_restore(ctx, accept_loss=accept_loss)}


def _become_only_runner(ctx: Context, held: ExitStack) -> None:
    clock = ctx.world.clock
    given_up = clock.monotonic() + _patience(ctx)
    while True:
        try:
            held.enter_context(only_runner(ctx.in_turn()))
        except Fenced:
            raise
        except Refused as error:
            if clock.monotonic() >= given_up:
                raise NeedsPerson(
                    error.seen,
                    expected="no other migration, before anything is taken back",
                    do=f"end that session, then: golive rollback {ctx.file.system} --release {ctx.release.id}",
                ) from error
        else:
            return


def _way(ctx: Context, rehearsal: Rehearsal) -> tuple[WayBack, list[str]]:
    """Return the way back and the migrations that were really applied, wholly or in part.

    A migration that stopped half way was not rehearsed with the old version, so keeping it is not proven: it is taken
    down if that way is.
    """
    migrator, target = ctx.file.migration, ctx.target()
    planned = list(rehearsal.detail["pending"])
    pending = set(migrator.pending(target)) if planned else set()
    begun = pending.intersection(migrator.begun(target)) if pending else set()
    applied = [name for name in planned if name not in pending or name in begun]
    way = WayBack(rehearsal.plan)
    if way is WayBack.KEEP and applied and (begun or len(applied) < len(planned)):
        exact = Outcome(rehearsal.detail["downgrade"]["exact"]) is Outcome.PASSED
        way = WayBack.DOWNGRADE if exact else WayBack.RESTORE
    return way, applied


def _restore(ctx: Context, *, accept_loss: int) -> Mapping[str, Any]:
    found = ctx.ledger.evidence.backup_of(ctx.release.id)
    if found is None:
        raise NeedsPerson("no proven backup of this release", do="restore by hand: golive status shows the backups")
    again = f"golive rollback {ctx.file.system} --release {ctx.release.id}"
    told = known(ctx, found)
    lost = written_since(ctx, told)
    require_accepted(lost, accept_loss, do=again)

    def reckon() -> Mapping[str, Any]:
        return {"disks": require_room_back(ctx, ctx.file.backup, told.manifest, ctx.target().dsn)}

    do_one(ctx, PHASE, Step("reckon the disk", reckon, mutates=False))
    with opened(ctx, found) as taken:

        def restore() -> Mapping[str, Any]:
            done = swap_in_restored(ctx, taken, accept_loss=accept_loss, do=again)
            # What the restored database knows of turns is as old as its backup.
            fence_off(ctx.in_turn())
            return {"counted_before": lost, **done}

        return do_one(ctx, PHASE, Step(RESTORE, restore))


@act
def roll_code_back(claim: Claim) -> list[Mapping[str, Any]]:
    """Hand over to the previous version by the same steps that bring any version into service."""
    ctx = context_of(claim)
    previous = require_previous.fn(claim)

    def bring(target: Target) -> None:
        if placed(target, previous) is None:
            # Only then: the way back must not depend on a source that may be away or have lost the version.
            ctx.file.source.fetch(target, previous)

    everywhere(ctx.targets(previous), bring)
    return do(ctx, PHASE, ctx.file.rollout.back(ctx.site(previous), previous))


@act
def check_previous(claim: Claim) -> int:
    """Check that the previous version serves as it should, and return how many checks said so."""
    ctx = context_of(claim)
    previous = ctx.release.previous_version or ""
    serving = ctx.file.rollout.serving(ctx.site(previous))
    if serving != previous:
        raise NeedsPerson(f"{serving or 'nothing'} serves after the rollback", expected=previous)
    seen = look_at(ctx, PHASE, ctx.file.checks.compatibility, ctx.target(previous))
    require(seen, f"{previous} after the rollback", needed=True)

    def show() -> Mapping[str, Any]:
        return everywhere(ctx.targets(previous), lambda target: show_current(target, previous))[""]

    do_one(ctx, PHASE, Step("show which version is current", show, mutates=False))
    return len(seen)


@act
def finish_rollback(claim: Claim, reason: str) -> None:
    """Stop the bad version, block it with its reason, and put on record that the release was rolled back.

    A version of which nothing ever came into production, because a lock was not granted, is not held to be bad.
    """
    ctx = context_of(claim)
    previous = ctx.release.previous_version or ""
    do(ctx, PHASE, ctx.file.rollout.finish(ctx.site(previous)))
    was_in_production = _was_in_production(ctx)
    if was_in_production:
        by = f"rollback of {ctx.release.id}"
        ctx.ledger.releases.block(ctx.file.system, ctx.release.version, by=by, reason=reason)
    advance(claim, State.ROLLED_BACK, reason)
    if was_in_production:
        # Only now: until then a rollback that is begun anew needs the version's own migrations.
        do_one(ctx, PHASE, Step("archive the release", lambda: _archive(ctx, reason), mutates=False))


def _archive(ctx: Context, reason: str) -> Mapping[str, Any]:
    """Move the bad version's code out of the way; that it cannot be moved is told and holds no rollback up."""
    try:
        told, version = ctx.world.secrets.mask(reason), ctx.release.version
        where = everywhere(ctx.targets(version), lambda target: archive(target, version, told))[""]
    except GoliveError as error:
        ctx.world.progress(f"{ctx.release.version} was not archived: {error}")
        return {"archived": None, "why": ctx.world.secrets.mask(error.seen)}
    return {"archived": str(where) if where else None}


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
