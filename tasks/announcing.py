"""Announces a release ahead of its time, reminds of it, and calls it off: on record, and told like everything else."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import NamedTuple

from tasks.context import Context, holder, ledger, production, world
from tasks.domain.errors import Refused, WindowClosed
from tasks.domain.gates import START
from tasks.domain.messages import Note, announcement_note, report_note
from tasks.domain.off_peak import OffPeak
from tasks.domain.release import State, check_version, new_release_id
from tasks.domain.units import show_seconds
from tasks.ledger.ledger import Ledger
from tasks.ledger.models import GateEvent, Release
from tasks.ledger.releases import Opening
from tasks.off_peak import quietest
from tasks.settings import Settings
from tasks.spec import loading
from tasks.telling import about
from tasks.windows import require_open

SCOPE = "announcement"
GOOD_FOR = timedelta(hours=24)
"""How long after its time an announced release may still begin."""


class Announced(NamedTuple):
    """What was announced: its id, and what a person should know who chose a busy hour, if it is one."""

    id: str
    busy: str


def announce(system: str, version: str, at: datetime, *, by: str, reason: str) -> Announced:
    """Put on record, and tell people, that a release will begin at a moment, and return the announcement.

    Raises `Refused` if that is not ``window.notice`` ahead, and `WindowClosed` if the window is closed then.
    """
    settings = Settings.from_environment()
    path = loading.find_release_file(settings.systems, system)
    file = loading.load(path)
    check_version(version)
    book = ledger(settings)
    now = book.evidence.now()
    earliest = now + timedelta(seconds=file.window.notice)
    if at < earliest:
        raise Refused(
            f"{at:%Y-%m-%d %H:%M} UTC is {show_seconds(max(0, round((at - now).total_seconds())))} ahead",
            expected=f"at least {show_seconds(file.window.notice)}" if file.window.notice else "a moment to come",
            where="window.notice",
            do=f"announce it for {earliest + timedelta(minutes=1):%Y-%m-%d %H:%M} UTC or later",
        )
    closed = f"the change window is closed at {at:%Y-%m-%d %H:%M} UTC"
    require_open(file.window, at, seen=closed, again="announce it for")
    opening = Opening(
        id=new_release_id(system, world().clock.now()),
        system=system,
        version=version,
        scope=SCOPE,
        mutates=False,
        started_by=by,
        reason=reason.strip(),
        file=str(path),
        file_text=path.read_text(encoding="utf-8"),
    )
    row = book.releases.open(opening)

    found = quietest(book, file, lambda: production(file, settings, world(), version), at, earliest=earliest)
    busy = str(found) if isinstance(found, OffPeak) and found.is_busy else ""

    def notes(_nonce: str) -> list[Note]:
        return [announcement_note(about(row, file.runbook), at, f"announced by {by}", busy=busy)]

    book.gates.open(row.id, START, "", at, notes, state=State.PLANNED, now=now)
    return Announced(row.id, busy)


def call_off(announcement: str, *, by: str, reason: str) -> str:
    """Call an announced release off, and tell people; raises `Refused` if it has begun or was called off."""
    book = ledger(Settings.from_environment())
    row = book.releases.get(announcement)
    if row.scope != SCOPE or State(row.state) is not State.PLANNED:
        raise Refused(
            f"{announcement} ({row.scope}) is {row.state}",
            expected="an announced release that has not begun",
            do="golive status lists them",
        )
    said = f"called off by {by}: {reason}"
    _end(book, row, State.STOPPED, said)
    return said


def _end(book: Ledger, row: Release, after: State, said: str) -> None:
    of, at = about(row), _time_of(book, row)
    tell = [announcement_note(of, at, said, edit=True), report_note(of, "the announcement", said)]
    claim = book.releases.seize(row.id, State.PLANNED, after, holder(), note=said, tell=tell)
    if after is State.RUNNING:
        book.releases.move(claim, State.RUNNING, State.DONE, note=said)
    book.releases.let_go(claim)


def _time_of(book: Ledger, row: Release) -> datetime:
    asked = book.gates.opened(row.id, START)
    return asked.until if asked is not None and asked.until is not None else row.created_at


def announced(book: Ledger, system: str, version: str) -> list[tuple[Release, datetime]]:
    """Return the announcements of a version that stand, with their time, the newest first."""
    rows = book.releases.latest(system, limit=200)
    return [
        (row, _time_of(book, row))
        for row in rows
        if row.scope == SCOPE and row.version == version and State(row.state) is State.PLANNED
    ]


def require_notice(ctx: Context) -> str:
    """Return which announcement a release begins by, if it was announced; that is fulfilled by this.

    Raises `WindowClosed` where the release file wants notice and none was given in time.
    """
    book, now, notice = ctx.ledger, ctx.ledger.evidence.now(), timedelta(seconds=ctx.file.window.notice)
    found = announced(book, ctx.release.system, ctx.release.version)
    due = [(row, at) for row, at in found if at <= now <= at + GOOD_FOR and at - row.created_at >= notice]
    if due:
        _end(book, due[0][0], State.RUNNING, f"has begun as {ctx.release.id}")
        return due[0][0].id
    if notice:
        later = f"; it is announced for {found[0][1]:%Y-%m-%d %H:%M} UTC" if found else ""
        raise WindowClosed(
            f"people were not told that it begins now{later}",
            expected=f"an announcement {show_seconds(ctx.file.window.notice)} ahead",
            where="window.notice",
            do=f"golive release {ctx.release.system} {ctx.release.version} --at TIME",
        )
    return ""


def remind_of_start(ctx: Context, asked: GateEvent, newest: int, *, reminded: bool, now: datetime) -> str:
    """Remind people of an announced release in the hour before it, once; one whose time is long past is over."""
    at = asked.until or asked.at
    if now > at + GOOD_FOR:
        _end(ctx.ledger, ctx.release, State.STOPPED, "did not begin in time")
        return "did not begin in time"
    if reminded or not timedelta() <= at - now <= timedelta(hours=1):
        return ""
    note = report_note(about(ctx.release), "reminder", f"begins at {at:%Y-%m-%d %H:%M} UTC")
    told = ctx.ledger.gates.note(asked, "reminded", seen=newest, tell=[Note("reminder", note.text, note.blocks)])
    return "reminded of its start" if told else ""
