"""What keeps the gates: reminders, requests made anew, and what must follow a signature even if its process died."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial

from tasks.acting import act, log_to_run
from tasks.announcing import remind_of_start
from tasks.beside import may_start, start_golive
from tasks.closing import time_is_up
from tasks.context import Context, is_gone, ledger, observing, world
from tasks.domain import requests
from tasks.domain.errors import GoliveError, LedgerError, Refused
from tasks.domain.gates import CONTROLS, GO, LIVE, STABLE, START, state_of
from tasks.domain.messages import report_note
from tasks.domain.release import State
from tasks.domain.triggers import Alarm, Finding
from tasks.domain.units import show_seconds
from tasks.ledger.ledger import Ledger
from tasks.ledger.models import GateEvent, Release
from tasks.ledger.releases import HOLDER_SILENT_AFTER
from tasks.settings import Settings
from tasks.signing import ask, observed, request_of, roles_missing, standing_of
from tasks.telling import about
from tasks.watching import Fired, Watched, fired
from tasks.windows import is_open

LOG_FILE = "signed.log"
"""Where in golive's home the output goes of what follows a signature that was given by a button."""
START_WITHIN = 120.0
"""Seconds within which what follows a signature must have begun before it is started again."""


@dataclass(frozen=True)
class Follows:
    """What follows the signatures that a release has by now."""

    release: Release
    missing: list[str]
    """The roles that it lacks."""
    refused: Fired | None = None
    """That somebody said no to what is live, which is answered as a trigger is."""
    goes_on: bool = False
    """Whether it may go on to touch production, or is to be stopped before."""
    is_closed: bool = False
    """Whether its watch is over, so that the next look closes it."""


def what_follows(release_id: str) -> Follows:
    """Return what follows the signatures of a release."""
    ctx = observed(release_id)
    row, now = ctx.release, ctx.ledger.evidence.now()
    if State(row.state) is State.AWAITING_GO:
        stands = standing_of(ctx, GO)
        missing = list(stands.missing) if stands.rejected is None else []
        said = stands.refusal or (f"awaits {', '.join(stands.awaits)}" if missing else "is signed and goes on")
        log_to_run().info("%s %s", release_id, said)
        return Follows(row, missing, goes_on=not missing)
    refused, missing = refusal_of(Watched(ctx)), roles_missing(ctx)
    closed = State(row.state) is State.WATCHING and time_is_up(ctx, now) and not missing
    return Follows(row, missing, refused, is_closed=closed and bool(ctx.file.gates()))


def refusal_of(watched: Watched) -> Fired | None:
    """Return that somebody who signs has said no to what is live, or nothing.

    Right after it went live that is answered as a trigger is; at the end of the watch a person decides.
    """
    ctx = watched.ctx
    if State(ctx.release.state) is not State.WATCHING:
        return None
    for gate in (LIVE, STABLE):
        if not ctx.file.signers(gate):
            continue
        stands = standing_of(ctx, gate)
        if stands.rejected is not None:
            found = fired(watched, Finding(f"gate {gate}", Alarm.FIRES, stands.refusal), stands.rejected.person)
            return found if gate == LIVE else replace(found, automatic=False)
    return None


@act
def keep_gates() -> list[str]:
    """See to the gates as a step of the monitor."""
    return see_to_gates()


def see_to_gates() -> list[str]:
    """Remind, ask anew what has expired, end requests that are past, and go on where a signature was not followed up.

    Raises nothing but `LedgerError`: one release's trouble does not keep the others from it.
    """
    book = ledger(Settings.from_environment())
    said = []
    for asked in book.gates.asked():
        said += _guarded(asked.release_id, partial(_keep, book, asked))
    for row in book.releases.in_state(State.AWAITING_GO, State.WATCHING):
        said += _guarded(row.id, partial(_see_to, row))
    return said


def _guarded(release_id: str, keep: Callable[[], str]) -> list[str]:
    try:
        said = keep()
    except LedgerError:
        raise
    except GoliveError as error:
        said = f"the gate could not be seen to: {world().secrets.mask(str(error))}"
    return [f"{release_id}: {said}"] if said else []


def _keep(book: Ledger, asked: GateEvent) -> str:
    ctx = observed(asked.release_id)
    row, now = ctx.release, book.evidence.now()
    events = [one for one in book.gates.events(row.id, asked.gate) if one.id >= asked.id]
    newest = events[-1].id
    if asked.gate == START and State(row.state) is State.PLANNED:
        reminded = any(one.event == "reminded" for one in events)
        return remind_of_start(ctx, asked, newest, reminded=reminded, now=now)
    if State(row.state) is not state_of(asked.gate):
        request = request_of(ctx, asked)
        over = requests.over_note(request, asked.nonce or "", f"is over: the release is {row.state.replace('_', ' ')}")
        book.gates.note(asked, "ended", seen=newest, tell=[over] if asked.gate != START else [])
        return f"the request at {asked.gate} is over" if asked.gate != START else ""
    if asked.gate == CONTROLS:
        return ""
    stands = standing_of(ctx, asked.gate)
    if stands.passed or stands.rejected is not None:
        return ""
    if asked.until is not None and asked.until <= now:
        ask(ctx, asked.gate)
        return f"asked anew at {asked.gate}"
    return _remind(ctx, asked, events, now)


def _remind(ctx: Context, asked: GateEvent, events: list[GateEvent], now: datetime) -> str:
    every = ctx.file.sign_off.remind
    if not every or now - max(one.at for one in events if one.event in ("opened", "reminded")) < timedelta(
        seconds=every
    ):
        return ""
    if any(one.event == "acknowledged" and one.until is not None and one.until > now for one in events):
        return ""
    note = requests.reminder_note(request_of(ctx, asked), show_seconds(round((now - asked.at).total_seconds())))
    return (
        f"reminded of {asked.gate}" if ctx.ledger.gates.note(asked, "reminded", seen=events[-1].id, tell=[note]) else ""
    )


def _see_to(row: Release) -> str:
    """Ask where nobody was asked yet, and go on where the process died that was to follow a signature up."""
    gate = GO if State(row.state) is State.AWAITING_GO else LIVE
    if not observing(row).file.signers(gate):
        return ""
    ctx = observed(row.id)
    if _is_driven(row, ctx.ledger.evidence.now()):
        return ""
    stands = standing_of(ctx, gate)
    if not stands.passed and stands.rejected is None:
        if ctx.ledger.gates.opened(row.id, gate) is None:
            ask(ctx, gate)
        return ""
    # What became due outside the window is a person's to start; so is what waits for nobody's signature.
    last = max((one.at for one in stands.signed), default=None)
    if gate == GO and (stands.rejected is not None or (last is not None and is_open(ctx.file.window, last))):
        return go_on(row.id)
    return ""


def _is_driven(row: Release, now: datetime) -> bool:
    heard = row.holder_seen is not None and now - row.holder_seen < HOLDER_SILENT_AFTER
    return bool(row.holder) and heard and not is_gone(row.holder)


def go_on(release_id: str) -> str:
    """Start what follows the signatures of a release in a process of its own, unless that is on its way."""
    if not may_start(ledger(Settings.from_environment()), f"go on {release_id}", START_WITHIN):
        return "is on its way"
    return f"goes on as process {start_golive('resume', release_id, log=LOG_FILE)}"


def acknowledge(asked: GateEvent, by: str) -> str:
    """Put on record that somebody sees to a request, which stops its reminders for a while, and say until when."""
    ctx = observed(asked.release_id)
    until = ctx.ledger.evidence.now() + timedelta(seconds=ctx.file.sign_off.acknowledged)
    text = f"{by} sees to it; no reminder until {until:%Y-%m-%d %H:%M} UTC"
    note = report_note(about(ctx.release), "acknowledged", text)
    for _try in range(3):
        newest = ctx.ledger.gates.events(asked.release_id, asked.gate)[-1].id
        if ctx.ledger.gates.note(asked, "acknowledged", seen=newest, by=by, until=until, tell=[note]):
            return text
    raise Refused("others were at it in the same moment", do="press it once more")


def watch_longer(release_id: str, by: str) -> str:
    """Let the first stage of a watch go on for longer because a person asks for it, and say until when."""
    ctx = observed(release_id)
    row, plan = ctx.release, ctx.file.watch
    before = row.watch_until
    if State(row.state) is not State.WATCHING or before is None:
        raise Refused(f"{release_id} is {row.state}", expected="a release under watch", do="nothing")
    until = max(before, ctx.ledger.evidence.now()) + timedelta(seconds=(plan.success.extend or 0.25) * plan.for_)
    text = f"extended until {until:%Y-%m-%d %H:%M} UTC by {by}"
    ctx.ledger.releases.extend_watch(
        release_id,
        before,
        until,
        {
            "stage": f"the first {show_seconds(plan.for_)}",
            "seen": text,
            "ended": "extended by a person",
            "until": until.isoformat(),
            "final": False,
        },
        tell=[report_note(about(row), "the watch goes on", text)],
    )
    return text
