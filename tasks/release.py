"""The steps that carry a release from phase to phase: open or resume it, wait for signatures, go live, stop."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from functools import partial

from prefect.context import FlowRunContext

from tasks.acting import LOG, act, act_once, do
from tasks.both_versions import NEW, OLD
from tasks.context import Context, context_of, holder, ledger, world
from tasks.domain.errors import ActiveRelease, Fenced, GoliveError, Refused, UserError
from tasks.domain.gates import CONTROLS, GO, LIVE
from tasks.domain.messages import Alert
from tasks.domain.release import FORWARD, MUTATING, TERMINAL, State
from tasks.domain.target import ONCE
from tasks.driving import advance, driving, join, open_release, person, shown, take_over
from tasks.ledger.releases import Claim
from tasks.moving import count_now
from tasks.preflight import when_open
from tasks.scratch import Scratch
from tasks.settings import Settings
from tasks.signing import ask, standing_of
from tasks.staging import end_replaced
from tasks.telling import alert, tell, tell_of
from tasks.to_sign import plan_hash, way_back


def open_or_resume(system: str, version: str, *, reason: str, started_by: str, supersede: bool, resume: str) -> Claim:
    """Open a new release, or take over one that a dead process left behind.

    A run that is retried in Prefect takes over what it had begun. With ``supersede`` a release of the system that is
    only being watched ends, so that this one may begin.
    """
    if resume := resume or _begun_by_this_run(system, version):
        row = ledger(Settings.from_environment()).releases.get(resume)
        if (row.system, row.version) != (system, version):
            raise UserError(
                f"{resume} takes {row.system} to {row.version}",
                expected=f"a release of {system} {version}",
                do="correct it",
            )
        return join(resume)
    try:
        return open_release(system, version, scope="release", mutates=True, started_by=started_by, reason=reason)
    except ActiveRelease:
        if not supersede or not _supersede(system, version, person(started_by)):
            raise
    return open_release(system, version, scope="release", mutates=True, started_by=started_by, reason=reason)


def _begun_by_this_run(system: str, version: str) -> str:
    """Return the release that this run of Prefect had begun before it was retried, if that can go on, else ""."""
    run = FlowRunContext.get()
    began = run.flow_run.start_time if run is not None and run.flow_run is not None else None
    row = ledger(Settings.from_environment()).releases.active(system)
    if began is None or row is None or row.created_at < began or (row.version, row.scope) != (version, "release"):
        return ""
    return row.id if State(row.state) in FORWARD[: FORWARD.index(State.WATCHING)] else ""


def _supersede(system: str, version: str, by: str) -> bool:
    book = ledger(Settings.from_environment())
    row = book.releases.active(system)
    if row is None or State(row.state) is not State.WATCHING:
        return False
    note = f"superseded by {version}, {by}"
    claim = book.releases.seize(
        row.id,
        State.WATCHING,
        State.SUPERSEDED,
        holder(),
        note=note,
        tell=tell_of(row, State.SUPERSEDED, note, moves=book.releases.moves(row.id)),
        verdict="superseded",
    )
    with driving(claim):
        _end_what_was_replaced(context_of(claim))
    return True


def reached(claim: Claim, state: State) -> bool:
    """Tell whether the release is already past a state, so that a resumed one skips that phase."""
    now = State(context_of(claim).release.state)
    return now in FORWARD and FORWARD.index(now) > FORWARD.index(state)


@act
def seek_go(claim: Claim) -> list[str]:
    """Put the plan on record, ask those who sign, and return what it awaits: signatures, or else the change window.

    A rejection raises `Refused`.
    """
    ctx = context_of(claim)
    stands = standing_of(ctx, GO)
    if stands.rejected is not None:
        raise Refused(stands.refusal, do="settle it with them and start another release")
    missing = stands.awaits
    if not missing and (opens := when_open(ctx)):
        missing = [f"the change window ({opens}; then go on with: golive resume {ctx.release.id})"]
    if reached(claim, State.AWAITING_GO):
        # It was let go once, and died before its first act: what it was let go for must still hold.
        if missing:
            raise Refused(f"{ctx.release.id} may not go on: it awaits {', '.join(missing)}", do="start another release")
        return missing
    note = f"awaits {', '.join(missing)}; way back: {way_back(ctx)}" if missing else ""
    advance(claim, State.AWAITING_GO, note, plan_hash=plan_hash(ctx))
    if stands.missing:
        ask(ctx, GO)
    LOG.info("%s %s", ctx.release.id, note or "goes on: nobody has to sign, and its window is open")
    return missing


def has_touched_production(claim: Claim) -> bool:
    """Tell whether the release has put its first act in production on record."""
    return context_of(claim).release.mutation_started_at is not None


def wait_until_free(release_id: str, seconds: float = 30.0) -> None:
    """Wait, for so many seconds at most, until no process drives a release any more."""
    book, clock = ledger(Settings.from_environment()).releases, world().clock
    ends = clock.monotonic() + seconds
    while book.get(release_id).holder and clock.monotonic() < ends:
        clock.sleep(0.5)


@act
def go_live(claim: Claim) -> str:
    """Put on record that the new version is live and until when it is watched; return that moment."""
    ctx = context_of(claim)
    if State(ctx.release.state) is State.WATCHING and ctx.release.watch_until is not None:
        _ask_while_watched(ctx)
        return ctx.release.watch_until.isoformat()  # the move was made, and only its answer was lost
    now = ctx.ledger.evidence.now()
    until = now + timedelta(seconds=ctx.file.watch.for_)
    note = f"live; watched until {until:%Y-%m-%d %H:%M:%S} UTC"
    ctx.ledger.releases.move(
        claim,
        State.HEALTH,
        State.WATCHING,
        note=note,
        tell=tell(ctx, State.WATCHING, note),
        live_at=now,
        watch_until=until,
    )
    _ask_while_watched(ctx)
    end_replaced(ctx.ledger, ctx.file.system)
    count_now(ctx)
    return until.isoformat()


def _ask_while_watched(ctx: Context) -> None:
    """Ask those who sign for what is live, or give people who can press buttons those of the watch."""
    try:
        if ask(ctx, LIVE) is None and any(notifier.has_buttons for notifier in ctx.file.notify):
            ask(ctx, CONTROLS)
    except GoliveError as error:
        # The release is live and well, and the monitor asks again.
        ctx.world.progress(f"{ctx.release.id}: nobody was asked yet: {ctx.world.secrets.mask(str(error))}")


def stop(claim: Claim, error: BaseException) -> None:
    """End a release that failed before production was touched, and remove what it had set up."""
    with suppress(GoliveError):
        advance(claim, State.STOPPED, shown(claim, error))
        Scratch(context_of(claim)).remove()


def must_roll_back(claim: Claim, error: BaseException) -> bool:
    """Tell whether production may have been changed and this process is still the one that answers for it."""
    if isinstance(error, Fenced):
        return False
    row = context_of(claim).release
    return (
        row.mutation_started_at is not None
        and State(row.state) in MUTATING - {State.WATCHING}
        and row.epoch == claim.epoch
    )


@act_once
def accept(release_id: str, *, person_name: str, reason: str) -> str:
    """Let a person end a release that waits for one: what serves now is taken to be stable.

    A phase that was started alone, touched production and died waits for a person too. Raises `Refused` if it lives.
    """
    book = ledger(Settings.from_environment())
    row = book.releases.get(release_id)
    note = f"accepted by {person_name}: {reason}"
    if State(row.state) is State.RUNNING and row.mutation_started_at is not None:
        advance(take_over(book, row), State.NEEDS_PERSON, "its process died")
        row = book.releases.get(release_id)
    claim = book.releases.seize(
        row.id,
        State.NEEDS_PERSON,
        State.STABLE,
        holder(),
        note=note,
        tell=tell_of(row, State.STABLE, note, moves=book.releases.moves(row.id)),
        verdict="accepted",
    )
    with driving(claim):
        _end_what_was_replaced(context_of(claim))
    return note


def _end_what_was_replaced(ctx: Context) -> None:
    try:
        serving = ctx.file.rollout.serving(ctx.site(ctx.release.version))
        do(ctx, "watch", ctx.file.rollout.finish(ctx.site(serving or ctx.release.version)))
    except GoliveError as error:
        # The release has ended well; what is left over does no harm, but somebody must know.
        _tell_of_left_over(ctx, "the old version could not be stopped", "only one version runs", error)


def stop_by_person(release_id: str, *, person_name: str, reason: str) -> str:
    """Let a person end a release that has not touched production, and remove what it had set up.

    Raises `Refused` if it has touched production, has ended, or is driven by a process that was heard of lately.
    """
    book = ledger(Settings.from_environment())
    row = book.releases.get(release_id)
    if State(row.state) in TERMINAL:
        raise Refused(f"{release_id} is {row.state}", expected="a release that has not ended", do="nothing")
    if row.mutation_started_at is not None:
        raise Refused(
            f"{release_id} has touched production",
            expected="a release that has not",
            do=f"golive rollback {row.system} --release {release_id}, or: golive accept {release_id}",
        )
    note = f"stopped by {person_name}: {reason}"
    with driving(take_over(book, row)) as claim:
        ctx = context_of(claim)
        # Before the end: after it the next release may use the same slots.
        for remove in _set_up_by(ctx):
            try:
                remove()
            except GoliveError as error:
                _tell_of_left_over(ctx, "something of a stopped release is left over", "nothing is", error)
        advance(claim, State.STOPPED, note)
    return note


def _set_up_by(ctx: Context) -> list[Callable[[], None]]:
    """Return the acts that remove what the phases before production have set up.

    Those slots belong to the system: while another release is under way, they are that one's.
    """
    active = ctx.ledger.releases.active(ctx.file.system)
    own = active is None or active.id == ctx.release.id

    def end(slot: str) -> None:
        ctx.file.platform.stop(ctx.target(), slot)

    slots = [partial(end, slot) for slot in (OLD, NEW, ONCE) if own]
    return [*slots, lambda: Scratch(ctx).remove()]


def _tell_of_left_over(ctx: Context, title: str, limit: str, error: GoliveError) -> None:
    seen = ctx.world.secrets.mask(str(error))
    ctx.world.progress(f"{ctx.release.id}: {title}: {seen}")
    one = Alert(title, seen, limit, since=ctx.ledger.evidence.now(), next_act="nothing: a person may remove it")
    alert(ctx, one)
