"""Where the later stages of a watch stand, derived from the ledger: what is due, what is over, what has ended them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from tasks import closing, watching
from tasks.checks import Check
from tasks.context import Context
from tasks.domain import stages
from tasks.domain.errors import GoliveError
from tasks.domain.messages import report_note
from tasks.domain.outcome import Outcome
from tasks.domain.release import TERMINAL, State
from tasks.domain.stages import Due, Plan
from tasks.ledger.ledger import Ledger
from tasks.ledger.models import Release
from tasks.spec import loading
from tasks.spec.release_file import ReleaseFile
from tasks.spec.watch import Stage
from tasks.telling import about

LOOK = "review"
"""The source of a look in a later stage; ``due_at`` is the newest moment that it stands for."""
VERDICT = "stage"
"""The source of a look that gives the verdict on a later stage; ``due_at`` is the moment at which that was over."""
ENDED = "review ended"
"""The source of a look that ends the later stages before their time, with the reason."""


@dataclass(frozen=True)
class Standing:
    """What the later stages of a release ask for now: looks that are due, stages whose verdict is."""

    dues: Sequence[Due] = ()
    over: Sequence[int] = ()


def plans_of(file: ReleaseFile) -> list[Plan]:
    """Return how the later stages of a release file go."""
    return [Plan(stage.every, stage.for_, stage.looks) for stage in file.watch.then]


def began(row: Release) -> datetime | None:
    """Return when the first stage was over: as planned, or when a person accepted what serves."""
    return row.watch_until if row.verdict == "stable" else row.ended_at


def is_due(book: Ledger, row: Release, now: datetime) -> bool:
    """Tell whether something is to be done in the later stages of a stable release."""
    if is_over(book, row):
        return False
    try:
        file = loading.recorded(row.file_text, row.file)
    except GoliveError:
        return False  # of a release that is stable, and on record by a form that this golive cannot read any more
    if not file.watch.then:
        return False
    standing = standing_of(book, row, file, now)
    return bool(standing.dues or standing.over) or replaced_by(book, row) is not None


def is_over(book: Ledger, row: Release) -> bool:
    """Tell whether the last stage has its verdict, or something has ended the stages.

    By the ledger alone: the monitor asks this of every system each hour, and to read a release file takes longer.
    """
    looks = (look for source in (closing.SOURCE, VERDICT, ENDED) for look in book.evidence.looks(row.id, source))
    return any(look.findings.get("final") for look in looks)


def standing_of(book: Ledger, row: Release, file: ReleaseFile, now: datetime) -> Standing:
    """Return what the later stages of a stable release ask for now; nothing while another release is on its way."""
    start = began(row)
    if start is None or _changing(book, row):
        return Standing()
    plans, looks = plans_of(file), book.evidence.looks(row.id, LOOK)
    done = looks[-1].due_at if looks else None
    judged = {one.findings["number"] for one in book.evidence.looks(row.id, VERDICT)}
    ends = stages.begins(plans, start)[1:]
    over = [number for number, end in enumerate(ends) if end <= now and number not in judged]
    return Standing(stages.due(plans, start, done, now), over)


def _since(book: Ledger, row: Release) -> list[Release]:
    """Return what has changed production with another version since a release, the newest first."""
    rows = book.releases.latest(row.system, limit=100)
    return [
        one
        for one in rows
        if one.created_at > row.created_at and one.mutation_started_at is not None and one.version != row.version
    ]


def _changing(book: Ledger, row: Release) -> bool:
    """Tell whether another release changes production now: what would be looked at is neither one nor the other."""
    return any(State(one.state) not in TERMINAL for one in _since(book, row))


def replaced_by(book: Ledger, row: Release) -> Release | None:
    """Return what has gone live since, so that the release does not serve any more, or has not for some time."""
    ended_well = {State.DONE, State.STABLE, State.SUPERSEDED}
    live = (one for one in _since(book, row) if one.live_at is not None or State(one.state) in ended_well)
    return next(live, None)


def end_replaced(book: Ledger, system: str) -> None:
    """End the later stages of a system's stable release when another one has gone live, and say so in the ledger."""
    for row in book.releases.newest_stable():
        if row.system != system or is_over(book, row):
            continue
        # What hinders this is of the older release; the monitor tries again, and the new one is live all the same.
        with suppress(GoliveError):
            file = loading.recorded(row.file_text, row.file)
            other = replaced_by(book, row)
            if other is not None and file.watch.then:
                end_early(watching.observe(row).ctx, other)


def end_early(ctx: Context, other: Release) -> str:
    """End the later stages of a release because another one has gone live, and say so in the ledger and to people."""
    why = f"{other.id} ({other.version}) has gone live"
    note = report_note(about(ctx.release), "the later stages of the watch end", why)
    ctx.ledger.evidence.looked(
        ctx.release.id, ENDED, Outcome.PASSED, {"why": why, "by": other.id, "final": True}, tell=[note]
    )
    return f"its later stages end: {why}"


def checks_of(ctx: Context, stage: Stage) -> list[Check]:
    """Return the checks that each look of a stage makes."""
    return [ctx.file.check(name) for name in stage.checks] or list(ctx.file.checks.watch)
