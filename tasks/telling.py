"""What people are told of a release, written from the ledger and the release file."""

from __future__ import annotations

from collections.abc import Sequence

from tasks.context import Context
from tasks.courier import Courier
from tasks.domain.messages import (
    About,
    Alert,
    Figures,
    Mark,
    Note,
    Occasion,
    PhaseLine,
    alert_note,
    final_note,
    reply_note,
    root_note,
)
from tasks.domain.release import TERMINAL, State
from tasks.ledger.models import Move, Release
from tasks.spec import loading

_PHASES = {
    State.PREFLIGHT: "preflight",
    State.BACKUP: "backup",
    State.REHEARSE: "rehearse",
    State.AWAITING_GO: "go / no-go",
    State.MIGRATE: "migrate",
    State.DEPLOY: "deploy",
    State.HEALTH: "health",
    State.WATCHING: "watch",
}
_BAD = frozenset({State.STOPPED, State.ROLLING_BACK, State.ROLLED_BACK, State.NEEDS_PERSON})


def about(row: Release, runbook: str = "") -> About:
    """Return what every message of a release says of it."""
    return About(
        release_id=row.id,
        system=row.system,
        version=row.version,
        started_by=row.started_by,
        previous=row.previous_version or "",
        reason=row.reason,
        runbook=runbook,
    )


def tell(ctx: Context, after: State, text: str, figures: Figures = ()) -> list[Note]:
    """Return the messages for a move of the release: its root anew, a reply, and at the end the final one."""
    return tell_of(ctx.release, after, text, figures, moves=ctx.ledger.releases.moves(ctx.release.id))


def tell_of(row: Release, after: State, text: str, figures: Figures = (), *, moves: Sequence[Move]) -> list[Note]:
    """Return the messages for a move of a release to a state."""
    of = about(row, loading.recorded(row.file_text, row.file).runbook)
    before = State(row.state)
    first = before is State.PLANNED
    # What is run alone, a phase or a restore, has no phases before and after it.
    lines = phase_lines(moves, after) if row.scope == "release" else []
    notes = [root_note(of, after, lines, figures, edit=not first)]
    if after in TERMINAL:
        notes.append(final_note(of, after, figures, text))
    elif not first:
        notes.append(reply_note(of, before, after, text, figures))
    return notes


def phase_lines(moves: Sequence[Move], after: State) -> list[PhaseLine]:
    """Return how each phase stands once the release has moved to ``after``; seconds come from the moves so far."""
    reached = [State(move.after) for move in moves if move.after in _PHASES]
    began = {State(move.after): move.at for move in moves}
    ended = {State(move.before): move.at for move in moves if move.before}
    lines = []
    for state, name in _PHASES.items():
        mark = Mark.AHEAD
        if state is after:
            mark = Mark.RUNNING
        elif state in reached:
            mark = Mark.FAILED if after in _BAD and state is reached[-1] else Mark.DONE
        took = (ended[state] - began[state]).total_seconds() if state in began and state in ended else None
        lines.append(PhaseLine(name, mark, took))
    return lines


def alert(ctx: Context, one: Alert) -> None:
    """Put an alert into the outbox; it says whether it is the first since all was well."""
    before = [message for message in ctx.ledger.outbox.messages(ctx.release.id) if message.kind == "alert"]
    is_wrong = bool(before) and before[-1].blocks.get("occasion") != Occasion.OVER
    occasion = Occasion.OVER if one.over else Occasion.STILL if is_wrong else Occasion.WRONG
    ctx.ledger.releases.tell(ctx.release.id, alert_note(about(ctx.release, ctx.file.runbook), one, occasion))


def refresh_root(ctx: Context, figures: Figures) -> None:
    """Let the root message say what holds now, without a new message for anyone."""
    state = State(ctx.release.state)
    lines = phase_lines(ctx.ledger.releases.moves(ctx.release.id), state)
    note = root_note(about(ctx.release, ctx.file.runbook), state, lines, figures, edit=True)
    ctx.ledger.releases.tell(ctx.release.id, note)


def courier_for(ctx: Context) -> Courier:
    """Return what carries the messages of this release's system out."""
    return Courier(
        ctx.ledger,
        ctx.file.notify,
        ctx.world.secrets,
        ctx.world.clock,
        ctx.world.progress,
        system=ctx.file.system,
        http=ctx.world.http,
    )
