"""The steps of the rollback: the schema by its proven way, the code by the rollout's own steps, then the checks."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from tasks import archive
from tasks.acting import act, do, do_one
from tasks.checking import look_at, require
from tasks.context import Context, context_of, holder, ledger
from tasks.domain.errors import GoliveError, NeedsPerson, Refused
from tasks.domain.outcome import Outcome
from tasks.domain.release import MUTATING, State
from tasks.domain.way_back import WayBack
from tasks.driving import advance, person
from tasks.ledger.models import Rehearsal, Release
from tasks.ledger.releases import Claim
from tasks.rehearse import migrated
from tasks.restore import swap_in_restored, written_since
from tasks.rollouts import Step
from tasks.settings import Settings
from tasks.telling import tell_of

PHASE = "rollback"
_FROM = MUTATING | {State.NEEDS_PERSON, State.STABLE}


def release_to_roll_back(system: str, release: str) -> Release:
    """Return the release named, or else the newest one of the system that touched production; raises `Refused`."""
    book = ledger(Settings.from_environment())
    if release:
        return book.releases.get(release)
    for row in book.releases.latest(system, limit=100):
        if row.mutation_started_at is not None and State(row.state) is not State.SUPERSEDED:
            return row
    raise Refused(f"no release of {system} has touched production", do="name a release: golive status lists them")


def begin(release_id: str, *, reason: str, automatic: bool, started_by: str) -> Claim:
    """Take hold of a release in order to take it back; of several that try at once, one succeeds.

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
    if state is State.ROLLING_BACK:
        return book.releases.take(release_id, holder())
    if state not in _FROM:
        raise Refused(f"{release_id} is {state}", expected=f"one of {', '.join(sorted(_FROM))}")
    if automatic and row.automatic_rollback_at is not None:
        raise NeedsPerson(
            f"{release_id} was already rolled back by itself at {row.automatic_rollback_at:%H:%M}",
            expected="one automatic rollback for each release",
            do="a person decides: golive rollback, or golive accept",
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
def undo_schema(claim: Claim, *, accept_loss: bool) -> Mapping[str, Any]:
    """Take the schema back by the way that the rehearsal has proven.

    Raises `NeedsPerson` with the number of changed rows when only a restore is left and nobody accepted the loss.
    """
    ctx = context_of(claim)
    rehearsal = _rehearsal(ctx)
    if rehearsal is None:
        return {"way": "none", "why": "no migration was rehearsed, so none was run"}
    way, names = _way(ctx, rehearsal)
    if way is WayBack.KEEP or not names:
        return {"way": WayBack.KEEP.value, "why": rehearsal.detail["why"], "applied": names}
    if way is WayBack.DOWNGRADE:
        step = Step("take the schema back", lambda: migrated(ctx.file.migration.downgrade(ctx.target(), names)))
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
    step = Step("restore the database", lambda: {"lost_rows": lost, **swap_in_restored(ctx, taken)})
    return do_one(ctx, PHASE, step)


@act
def roll_code_back(claim: Claim) -> list[Mapping[str, Any]]:
    """Hand over to the previous version by the same steps that bring any version into service."""
    ctx = context_of(claim)
    previous = ctx.release.previous_version
    if previous is None:
        raise NeedsPerson(
            "no version is on record that served before this one",
            expected="a previous version",
            do="release a good version, or stop this one by hand",
        )
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
    """Stop the bad version, block it with its reason, and put on record that the release was rolled back."""
    ctx = context_of(claim)
    previous = ctx.release.previous_version or ""
    do(ctx, PHASE, ctx.file.rollout.finish(ctx.site(previous)))
    ctx.ledger.releases.block(ctx.file.system, ctx.release.version, by=f"rollback of {ctx.release.id}", reason=reason)
    advance(claim, State.ROLLED_BACK, reason)


def give_to_person(claim: Claim, error: BaseException) -> None:
    """Put on record that the rollback did not come to its end and a person must decide."""
    ctx = context_of(claim)
    with suppress(GoliveError):
        advance(claim, State.NEEDS_PERSON, ctx.world.secrets.mask(str(error) or type(error).__name__))


def _rehearsal(ctx: Context) -> Rehearsal | None:
    own = ctx.ledger.evidence.rehearsal(ctx.release.id)
    if own is not None:
        return own
    fingerprint = ctx.file.migration.fingerprint(ctx.target())
    return ctx.ledger.evidence.rehearsal_of(ctx.file.system, ctx.release.version, fingerprint)
