"""Tells people once a day how a system stands: what it runs, what happened, whom it awaits, what did not reach them."""

from __future__ import annotations

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from tasks.acting import act
from tasks.context import Context, ledger, observing, world
from tasks.domain.errors import GoliveError, LedgerError
from tasks.domain.messages import Figures, digest_note
from tasks.domain.release import TERMINAL, State
from tasks.ledger.ledger import Ledger
from tasks.ledger.models import Release
from tasks.settings import Settings
from tasks.signing import roles_missing
from tasks.telling import about

_DAY = timedelta(days=1)


@act
def send_digests() -> list[str]:
    """Put the digest of each system whose time has come into the outbox, once a day, and return the systems."""
    book = ledger(Settings.from_environment())
    now, told = book.evidence.now(), []
    active = book.releases.active_of_each()
    for row in book.releases.newest_of_each():
        try:
            if _send(book, active.get(row.system, row), now):
                told.append(row.system)
        except LedgerError:
            raise
        except GoliveError as error:
            world().progress(f"no digest of {row.system}: {world().secrets.mask(str(error))}")
    return told


def _send(book: Ledger, row: Release, now: datetime) -> bool:
    ctx = observing(row)
    due = _due(ctx, now)
    if due is None:
        return False
    rows = [one for one in book.releases.latest(row.system, limit=50) if one.created_at > due - _DAY]
    messages = [message for one in {row.id, *(one.id for one in rows)} for message in book.outbox.messages(one)]
    if any(message.kind == "digest" and message.at >= due for message in messages):
        return False
    alerts = sum(message.kind == "alert" and message.at >= now - _DAY for message in messages)
    book.releases.tell(row.id, digest_note(about(row, ctx.file.runbook), _words(ctx), _figures(ctx, rows, alerts, now)))
    return True


def _due(ctx: Context, now: datetime) -> datetime | None:
    """Return the newest moment at which a digest was due, or None if there is to be none."""
    if not ctx.file.digest:
        return None
    hour, minute = map(int, ctx.file.digest.split(":"))
    local = now.astimezone(ZoneInfo(ctx.file.window.timezone))
    due = local.replace(hour=hour, minute=minute, second=0, microsecond=0)
    return due if due <= local else due - _DAY


def _words(ctx: Context) -> str:
    state = State(ctx.release.state)
    return f"{ctx.release.version} {'was last' if state in TERMINAL else 'is'} {state.replace('_', ' ')}"


def _figures(ctx: Context, rows: list[Release], alerts: int, now: datetime) -> Figures:
    book, of = ctx.ledger, ctx.release
    looks = [one.outcome for one in book.evidence.looks(of.id, "monitor") if one.at >= now - _DAY]
    awaits = roles_missing(ctx)
    return [
        ("releases since yesterday", ", ".join(f"{one.version} {one.state}" for one in rows) or "none"),
        ("looks", f"{looks.count('passed')} of {len(looks)} passed" if looks else "none"),
        ("alerts", str(alerts)),
        ("awaits", ", ".join(awaits) or "nobody"),
        ("not delivered", str(book.outbox.count_dead(now - _DAY))),
    ]
