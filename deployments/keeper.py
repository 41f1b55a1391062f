"""Does what Prefect may not get to, its server or worker hanging: a guard stays alive, a rollback is gone on with."""

from __future__ import annotations

import threading
from collections.abc import Callable

from tasks.beside import guard_is_alive, is_left, may_start, start_golive
from tasks.context import ledger, revive_ledger, world
from tasks.domain.errors import GoliveError, LedgerError
from tasks.domain.release import DRIVEN
from tasks.ledger.ledger import Ledger
from tasks.settings import Settings

EVERY = 10.0
"""Seconds between two looks; each is a few small questions to the ledger."""
LOG_FILE = "keep-guard.log"
"""Where in golive's home stands what was said by those that saw to a release left behind."""
_WITHIN = 60.0
"""Seconds within which a process that was started for a release must have taken it over, before another one is."""


class Keeper:
    """Looks whether a guard is alive while something is under watch, and whether a process died amid its release."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._unprobed: frozenset[str] = frozenset()

    def look(self) -> str:
        """Return what was done, or nothing; people are told of a guard that has died, and of a release left behind."""
        book = ledger(self._settings)
        return "; ".join(done for done in (self._guard(book), _left_behind(book)) if done)

    def _guard(self, book: Ledger) -> str:
        if guard_is_alive(book):
            return ""
        armed = frozenset(one.id for one in book.releases.armed())
        if not armed or armed == self._unprobed:
            return ""
        from tasks.guard import NOTHING, replace_dead  # takes seconds to import, and is seldom needed

        done = replace_dead(book)
        self._unprobed = armed if done == NOTHING else frozenset()
        return done


def _left_behind(book: Ledger) -> str:
    """Have a process of its own see to releases whose process has died, as the flow keep-guard does."""
    rows = [row for row in book.releases.in_state(*DRIVEN) if is_left(book, row)]
    if not rows:
        return ""
    from tasks.abandoned import wants_attention  # takes seconds to import, and is seldom needed

    left = [row.id for row in rows if wants_attention(book, row) and may_start(book, f"see to {row.id}", _WITHIN)]
    if not left:
        return ""
    start_golive("keep-guard", "--once", log=LOG_FILE)
    return f"nobody drives {', '.join(left)} any more; {LOG_FILE} tells what was done"


def keep(settings: Settings, ended: threading.Event, tell: Callable[[str], None]) -> None:
    """Look every `EVERY` seconds until it is ``ended``; what hinders a look is told, and the next one tries again."""
    keeper, told = Keeper(settings), ""
    while not ended.wait(EVERY):
        try:
            said = keeper.look()
        except GoliveError as error:
            said = world().secrets.mask(f"{type(error).__name__}: {error}")
            if isinstance(error, LedgerError):
                _revive(settings)
        if said and said != told:
            tell(f"{world().clock.now():%Y-%m-%d %H:%M:%S} guard: {said}")
        told = said


def _revive(settings: Settings) -> None:
    try:
        revive_ledger(settings)
    except GoliveError as error:
        world().progress(f"the ledger cannot be started: {world().secrets.mask(str(error))}")
