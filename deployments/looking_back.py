"""What the ledger tells of a system's past releases, as values for ``--json`` and as a table for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from rich.table import Table
from rich.text import Text

from deployments.looking import STYLES
from deployments.output import plain_table
from tasks.domain.release import TERMINAL, State
from tasks.domain.units import show_seconds
from tasks.ledger.ledger import Ledger
from tasks.ledger.models import Move, Release
from tasks.reporting.deriving import periods_of

_TOLD = frozenset({State.STOPPED, State.ROLLING_BACK, State.NEEDS_PERSON, State.SUPERSEDED})
"""States of which it is worth telling how a release came to them."""


def history_of(book: Ledger, system: str, limit: int) -> list[dict[str, Any]]:
    """Return a system's releases and the phases started alone, the newest first.

    ``seconds`` and the values of ``phases`` are in seconds; the watch is not counted into ``seconds``.
    """
    now = book.evidence.now()
    return [_past(book, row, now) for row in book.releases.latest(system, limit)]


def _past(book: Ledger, row: Release, now: datetime) -> dict[str, Any]:
    moves = book.releases.moves(row.id)
    periods = periods_of(moves, now)
    ended = row.live_at or row.ended_at or now
    return {
        "id": row.id,
        "system": row.system,
        "version": row.version,
        "previous_version": row.previous_version,
        "scope": row.scope,
        "state": row.state,
        "verdict": row.verdict,
        "started_by": row.started_by,
        "reason": row.reason,
        "started_at": row.created_at.isoformat(),
        "live_at": row.live_at.isoformat() if row.live_at else None,
        "ended_at": row.ended_at.isoformat() if row.ended_at else None,
        "seconds": round((ended - row.created_at).total_seconds(), 3),
        "phases": {one.label: round(one.seconds, 3) for one in periods},
        "signed_by": [
            f"{one.person} ({one.role})" for one in book.evidence.signatures(row.id) if one.decision == "approve"
        ],
        "why": _why(moves),
    }


def _why(moves: Sequence[Move]) -> str:
    """Return what was said when the release took a turn that was not its way, the last of such turns."""
    return next((move.note for move in reversed(moves) if move.after in _TOLD and move.note), "")


def history_table(past: Sequence[Mapping[str, Any]]) -> Table:
    """Return past releases as a table."""
    columns = ("started", "release", "version", "what", "outcome", "took", "by", "why")
    table = plain_table(columns, {"started", "release", "outcome", "took"})
    for one in past:
        at = datetime.fromisoformat(one["started_at"]).astimezone()
        state = State(one["state"])
        table.add_row(
            Text(f"{at:%Y-%m-%d %H:%M}"),
            Text(one["id"]),
            Text(f"{one['previous_version'] or '–'} → {one['version']}"),
            Text(one["scope"]),
            Text(one["verdict"] or one["state"], style=STYLES.get(state, "")),
            Text(show_seconds(one["seconds"]) + ("" if one["live_at"] or state in TERMINAL else " so far")),
            Text(one["started_by"]),
            Text(one["why"].splitlines()[0].partition("; expected ")[0] if one["why"] else one["reason"] or "–"),
        )
    return table
