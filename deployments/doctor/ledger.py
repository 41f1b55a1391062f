"""The ledger, and what it says of guard, releases and messages."""

from __future__ import annotations

from datetime import UTC, datetime

from deployments.doctor.finding import Finding, Look, not_known, well, wrong
from tasks import watching
from tasks.domain.release import TERMINAL, State
from tasks.domain.units import show_seconds
from tasks.ledger.ledger import Ledger
from tasks.ledger.part import GUARD
from tasks.ledger.releases import HOLDER_SILENT_AFTER
from tasks.settings import LEDGER_VARIABLE, Settings

_CLOCK = 2.0
"""Seconds by which golive's clock and the ledger's may differ."""


def looks(settings: Settings, book: Ledger | None) -> list[Look]:
    """Return the looks at the ledger; without one only that it is not there."""
    if book is None:
        return [lambda: _ledger(settings, None)]
    return [
        lambda: _ledger(settings, book),
        lambda: _clock(book),
        lambda: _guard(book),
        lambda: _undriven(book),
        lambda: _letters(book),
    ]


def _ledger(settings: Settings, book: Ledger | None) -> Finding:
    where = LEDGER_VARIABLE if settings.ledger_url else f"embedded, {settings.home / 'ledger'}"
    if book is not None:
        return well("ledger", f"answers, its schema is this golive's ({where})")
    if settings.ledger_url is None and not (settings.home / "ledger").exists():
        return not_known("ledger", f"not begun yet ({where})", "a ledger that answers", "golive up")
    do = f"start its PostgreSQL, or correct {LEDGER_VARIABLE}" if settings.ledger_url else "golive up"
    return wrong("ledger", f"does not answer, or is newer than this golive ({where})", "a ledger that answers", do)


def _clock(book: Ledger) -> Finding:
    apart = abs((book.evidence.now() - datetime.now(UTC)).total_seconds())
    seen = f"{show_seconds(apart)} from the ledger's"
    if apart > _CLOCK:
        return wrong("clock", seen, f"at most {show_seconds(_CLOCK)}", "set the clocks by NTP")
    return well("clock", seen)


def _guard(book: Ledger) -> Finding:
    watched = [row.id for row in watching.under_watch(book)]
    seen = book.leases.seen(GUARD)
    heard = f"last heard of at {seen[1]:%Y-%m-%d %H:%M:%S} UTC" if seen else "never heard of"
    if not watched:
        return well("guard", f"nothing to guard; {heard}")
    if seen is None or not seen[2]:
        return wrong("guard", f"{heard}, while {', '.join(watched)} is under watch", "a living guard", "golive up")
    return well("guard", f"alive, {heard}; guards {', '.join(watched)}")


def _undriven(book: Ledger) -> Finding:
    """Find releases whose process has died: nobody goes on with them by itself."""
    waits = {State.AWAITING_GO, State.WATCHING, State.NEEDS_PERSON}
    now, dead, asks = book.evidence.now(), [], []
    for row in book.releases.latest(limit=100):
        state = State(row.state)
        if state is State.NEEDS_PERSON:
            asks.append(row.id)
        silent = row.holder_seen is None or now - row.holder_seen > HOLDER_SILENT_AFTER
        if state not in TERMINAL and state not in waits and (not row.holder or silent):
            dead.append(row.id)
    if dead:
        return wrong("releases", f"nobody drives {', '.join(dead)}", "a process", f"golive status {dead[0]}")
    if asks:
        return wrong("releases", f"{', '.join(asks)} waits for a person", "none", f"golive status {asks[0]}")
    return well("releases", "none is left without a process")


def _letters(book: Ledger) -> Finding:
    if letters := book.outbox.dead_letters():
        notifier = letters[0][1].notifier
        return wrong(
            "messages", f"{len(letters)} could not be delivered, the newest by {notifier}", "none", "golive status"
        )
    return well("messages", "none was given up")
