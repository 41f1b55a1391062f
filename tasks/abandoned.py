"""The steps that see to releases whose process has died in their midst: people are told, a rollback is gone on with."""

from __future__ import annotations

from tasks.acting import act
from tasks.beside import is_left, take_from_dead
from tasks.context import ledger, once, world
from tasks.domain.errors import GoliveError, LedgerError
from tasks.domain.messages import Alert, alert_note
from tasks.domain.outcome import Outcome
from tasks.domain.release import DRIVEN, State
from tasks.ledger.ledger import Ledger
from tasks.ledger.models import Look, Release
from tasks.ledger.releases import HOLDER_SILENT_AFTER
from tasks.settings import Settings
from tasks.spec import loading
from tasks.telling import about
from tasks.watching import Fired

SOURCE = "abandoned"
"""The source of a look that finds that the process has died which drove a release in the epoch of its findings."""
MOST_CARRIED_ON = 3
"""How often an automatic rollback is gone on with: what kills each process that is at it, is for a person to find."""
_LEASE = "left behind"
_LEASE_SECONDS = 60.0


@act
def left_behind() -> list[Fired]:
    """Tell people once of each release whose process has died, and return the automatic rollbacks to go on with.

    That is the same rollback still: it was decided once, and its steps may be repeated by whoever takes it over.
    """
    book, name = ledger(Settings.from_environment()), once()
    if not take_from_dead(book, _LEASE, name, _LEASE_SECONDS):
        return []
    try:
        return [found for row in book.releases.in_state(*DRIVEN) if (found := _seen_to(book, row)) is not None]
    finally:
        book.leases.give_back(_LEASE, name)


def may_carry_on(book: Ledger, row: Release) -> bool:
    """Tell whether it is on record that the process at this automatic rollback is gone and another shall go on."""
    looks = book.evidence.looks(row.id, SOURCE)
    return bool(looks) and _is_of(looks[-1], row) and bool(looks[-1].findings.get("carried_on"))


def wants_attention(book: Ledger, row: Release) -> bool:
    """Tell whether people are to be told of a release that is left behind, or its rollback is to be gone on with."""
    looks = book.evidence.looks(row.id, SOURCE)
    return not looks or not _is_of(looks[-1], row) or bool(looks[-1].findings.get("carried_on"))


def _seen_to(book: Ledger, row: Release) -> Fired | None:
    """Put on record that a release is left behind, if it is and that is not on record yet; return it if golive acts."""
    if not is_left(book, row):
        return None
    try:
        looks = book.evidence.looks(row.id, SOURCE)
        if not looks or not _is_of(looks[-1], row):
            carried_on = sum(bool(look.findings.get("carried_on")) for look in looks)
            _tell(book, row, carried_on if _is_automatic(book, row) else MOST_CARRIED_ON)
        return _as_fired(book, row) if may_carry_on(book, row) else None
    except LedgerError:
        raise
    except GoliveError as error:  # its trouble must not keep anybody from the others
        world().progress(f"{row.id}: nobody could be told: {world().secrets.mask(str(error))}")
        return None


def _is_of(look: Look, row: Release) -> bool:
    return bool(look.findings["epoch"] == row.epoch)


def _is_automatic(book: Ledger, row: Release) -> bool:
    """Tell whether the rollback that is under way was begun by a trigger: a person's is that person's to go on with."""
    if State(row.state) is not State.ROLLING_BACK or row.automatic_rollback_at is None:
        return False
    begun = [move for move in book.releases.moves(row.id) if move.after == State.ROLLING_BACK]
    # There is one automatic rollback for each release; whatever was begun after it, a person began.
    return [move for move in begun if move.at >= row.automatic_rollback_at] == begun[-1:]


def _as_fired(book: Ledger, row: Release) -> Fired:
    note = next(move.note for move in reversed(book.releases.moves(row.id)) if move.after == State.ROLLING_BACK)
    return Fired(row.id, row.system, note.partition(": ")[2], "golive", automatic=True)


def _tell(book: Ledger, row: Release, carried_on: int) -> None:
    """Put on record who is silent, and with it what people are told; ``carried_on`` is how often golive went on."""
    acts = carried_on < MOST_CARRIED_ON
    note = alert_note(
        about(row, _runbook(row)),
        Alert(
            title="nobody drives this release any more",
            seen=f"the process {row.holder or 'that drove it'} is silent in state {row.state}",
            limit=f"a sign of life every {HOLDER_SILENT_AFTER.seconds} s",
            since=row.holder_seen or book.evidence.now(),
            next_act="go on with the rollback, by itself" if acts else _way_out(row),
        ),
    )
    findings = {"epoch": row.epoch, "state": row.state, "carried_on": acts}
    book.evidence.looked(row.id, SOURCE, Outcome.UNKNOWN, findings, tell=[note])


def _runbook(row: Release) -> str:
    try:
        return loading.recorded(row.file_text, row.file).runbook
    except GoliveError:
        return ""  # by a form that this golive cannot read any more; people are told all the same


def _way_out(row: Release) -> str:
    if State(row.state) is State.ROLLING_BACK:
        return f"wait for a person: golive resume {row.id} goes on with the rollback"
    touched = row.mutation_started_at is not None
    back = f"golive rollback {row.system} --release {row.id}" if touched else f"golive stop {row.id}"
    if row.scope != "release":
        return f"wait for a person: {back}"
    return f"wait for a person: golive resume {row.id}, or {back}"
