"""Keeps a guard alive where Prefect does not: its server or worker may hang, and then no schedule starts anything."""

from __future__ import annotations

import threading
from collections.abc import Callable

from tasks.beside import guard_is_alive
from tasks.context import ledger, revive_ledger, world
from tasks.domain.errors import GoliveError, LedgerError
from tasks.settings import Settings

EVERY = 10.0
"""Seconds between two looks; each is two small questions to the ledger."""


class Keeper:
    """Looks whether a guard is alive while something is under watch, and starts another one if not."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._unprobed: frozenset[str] = frozenset()

    def look(self) -> str:
        """Return what was done, or nothing; people are told of a guard that has died."""
        book = ledger(self._settings)
        if guard_is_alive(book):
            return ""
        armed = frozenset(one.id for one in book.releases.armed())
        if not armed or armed == self._unprobed:
            return ""
        from tasks.guard import NOTHING, replace_dead  # takes seconds to import, and is seldom needed

        done = replace_dead(book)
        self._unprobed = armed if done == NOTHING else frozenset()
        return done


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
