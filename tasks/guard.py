"""The steps of the guard: stand guard, ask a person where golive may not act, and see that a guard is alive."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

from tasks import watching
from tasks.acting import act
from tasks.beside import guard_is_alive, may_start, start_golive
from tasks.context import context_of, holder, is_gone, ledger, world
from tasks.desk import Desk
from tasks.domain.errors import GoliveError, LedgerError, Refused
from tasks.domain.messages import Alert, alert_note
from tasks.domain.outcome import Outcome
from tasks.domain.release import State
from tasks.guarding import ANSWERS_AT_ONCE, AT_ONCE, Round
from tasks.ledger.ledger import Ledger
from tasks.ledger.models import Release
from tasks.ledger.part import GUARD, GUARD_START
from tasks.ledger.releases import Claim
from tasks.settings import Settings
from tasks.spec import loading
from tasks.telling import about, alert, courier_for, tell_of
from tasks.watching import Fired

PID_FILE = "guard.pid"
"""Where in golive's home the number of the guard's process is kept that was started last."""
LOG_FILE = "guard.log"
NOTHING = "nothing to guard"
"""What is said where nothing under watch has anything to probe."""
START_WITHIN = 60.0
"""Seconds within which a guard that was started must have been heard of."""


def stand_guard(answer: Callable[[Fired], object]) -> int:
    """Probe all that is under watch until nothing is left, have answered what fires, and return how often that was.

    Only one process guards at a time: another one returns 0 at once. Probes go on record within half a second, or as
    soon as the ledger is back; a guard that is killed loses no more than that.
    """
    settings = Settings.from_environment()
    desk = Desk(ledger(settings), settings, on_duty=lambda book: _on_duty(book, settings))
    with (
        ThreadPoolExecutor(AT_ONCE, thread_name_prefix="guard") as probing,
        ThreadPoolExecutor(ANSWERS_AT_ONCE, thread_name_prefix="answer") as answering,
    ):
        return Round(desk, answer, probing, answering).run()


def _on_duty(book: Ledger, settings: Settings) -> None:
    """Say that the guard which was started is there."""
    world().host.write(settings.home / PID_FILE, f"{os.getpid()}\n")
    if (start := book.leases.seen(GUARD_START)) is not None:
        book.leases.give_back(GUARD_START, start[0])


def ask_person(fired: Fired) -> str:
    """Tell people of a trigger that fires and that golive may not act on by itself; the release waits for them.

    Raises `Refused` if it is being rolled back by now, which is what they would be asked for.
    """
    book = ledger(Settings.from_environment())
    row = book.releases.get(fired.release_id)
    if State(row.state) is State.ROLLING_BACK:
        raise Refused(f"{row.id} is being rolled back by {row.holder or 'another process'}", expected=State.WATCHING)
    claim = book.releases.seize(
        row.id,
        State(row.state),
        State.NEEDS_PERSON,
        holder(),
        note=fired.seen,
        tell=tell_of(row, State.NEEDS_PERSON, fired.seen, moves=book.releases.moves(row.id)),
    )
    book.releases.let_go(claim)
    courier_for(context_of(claim)).flush(10.0)
    return "a person is asked"


def state_of(fired: Fired) -> str:
    """Return where the release stands by now, which tells how its trigger was answered, and by whomever."""
    try:
        return ledger(Settings.from_environment()).releases.get(fired.release_id).state
    except GoliveError as error:
        return f"where nobody knows ({error.id})"


@act
def ensure_guard() -> str:
    """Start a guard if none is alive and something can be guarded, and say what was done."""
    book = ledger(Settings.from_environment())
    return start_guard(book) if guardable(book) else NOTHING


def see_to_guard(claim: Claim) -> None:
    """Start a guard if need be; where that fails people are told, for a healthy release is not taken back for it."""
    try:
        ensure_guard()
    except Exception as error:  # noqa: BLE001 - whatever it is, the release itself is live and well
        ctx = context_of(claim)
        alert(
            ctx,
            Alert(
                title="nobody guards this release",
                seen=ctx.world.secrets.mask(f"{type(error).__name__}: {error}"),
                limit="a guard that is alive",
                since=ctx.world.clock.now(),
                next_act="look hourly; a person may start it with: golive guard",
            ),
        )


def start_guard(book: Ledger, first: Callable[[], object] = lambda: None) -> str:
    """Start a guard, unless one is alive or on its way, in a process of its own that outlives this one.

    ``first`` is done before it, by the one process that starts it.
    """
    if guard_is_alive(book):
        return "alive"
    settings = Settings.from_environment()
    if not may_start(book, GUARD_START, START_WITHIN):
        return "on its way"
    first()
    if (seen := book.leases.seen(GUARD)) is not None and is_gone(seen[0]):
        book.leases.give_back(GUARD, seen[0])
    pid = start_golive("guard", log=LOG_FILE)
    world().host.write(settings.home / PID_FILE, f"{pid}\n")
    return f"started as process {pid}"


def guardable(book: Ledger) -> list[Release]:
    """Return the releases under watch that have something to probe."""
    found = []
    for row in watching.under_watch(book):
        try:
            probe = loading.recorded(row.file_text, row.file).watch.probe
        except GoliveError:
            continue  # the monitor tells of a release file that this golive cannot read any more
        if probe is not None:
            found.append(row)
    return found


@act
def replace_dead_guard() -> str:
    """Start a guard if none is alive, and tell people once of one that was to be there and has died."""
    return replace_dead(ledger(Settings.from_environment()))


def replace_dead(book: Ledger) -> str:
    """Do what `replace_dead_guard` does, in a process without Prefect too, and say what was done."""
    rows = guardable(book)
    if not rows or guard_is_alive(book):
        return "alive" if rows else NOTHING
    seen, start = book.leases.seen(GUARD), book.leases.seen(GUARD_START)
    if start is not None and start[2] and (seen is None or start[1] > seen[1]):
        return "on its way"
    expected = [row for row in rows if _had_guard(row, seen) or _had_guard(row, start)]

    def tell() -> None:
        for row in expected:
            try:
                _tell_of_death(book, row, seen)
            except LedgerError:
                raise
            except GoliveError as error:  # its file cannot be read any more, say: the others are guarded all the same
                world().progress(f"{row.id}: nobody could be told: {world().secrets.mask(str(error))}")

    return start_guard(book, tell)


def _had_guard(row: Release, seen: tuple[str, datetime, bool] | None) -> bool:
    return seen is not None and row.mutation_started_at is not None and seen[1] >= row.mutation_started_at


def _tell_of_death(book: Ledger, row: Release, seen: tuple[str, datetime, bool] | None) -> None:
    """Put on record that nobody guards a release, and tell people with it: once for each guard that has died."""
    heard = f"{seen[1]:%Y-%m-%d %H:%M:%S} UTC" if seen is not None else "never"
    looks = book.evidence.looks(row.id, "unguarded")
    if looks and looks[-1].findings["heard"] == heard:
        return
    ctx = watching.observe(row).ctx
    note = alert_note(
        about(row, ctx.file.runbook),
        Alert(
            title="the guard has died",
            seen=f"no guard is alive; last heard of: {heard}",
            limit="a sign of life every few seconds",
            since=seen[1] if seen is not None else book.evidence.now(),
            next_act=f"start another one; if this comes again, read {LOG_FILE} in golive's home",
        ),
    )
    book.evidence.looked(row.id, "unguarded", Outcome.UNKNOWN, {"heard": heard}, tell=[note])
