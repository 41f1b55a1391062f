"""Trying again for locks that were not granted."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import TypeVar

from tasks.domain.errors import LockNotGranted
from tasks.domain.target import Target
from tasks.domain.units import show_seconds
from tasks.migrators import Limits
from tasks.migrators._runner import shown

T = TypeVar("T")

_PAUSE_GROWTH, _PAUSE_MOST = 1.5, 3.0

_OPEN_TRANSACTIONS = """
SELECT pid, application_name AS application, state, xact_start AS since
FROM pg_stat_activity
WHERE datname = current_database() AND xact_start IS NOT NULL AND pid <> pg_backend_pid()
ORDER BY xact_start LIMIT 3
"""


def retry_lock(target: Target, limits: Limits, attempt: Callable[[], T]) -> tuple[T, int]:
    """Call ``attempt`` until it gets its locks, and return its result and how many tries that took.

    Only `LockNotGranted` is tried again, after a pause that grows and is jittered, so that those who queued behind the
    try get their turn. After ``limits.tries`` it is raised, with the oldest open transactions of the database.
    """
    for number in range(1, limits.tries + 1):
        try:
            return attempt(), number
        except LockNotGranted as error:
            where, seen = error.where, error.seen
            if number == limits.tries:
                with target.world.databases.session(target.dsn, statement_timeout=10) as session:
                    oldest = shown(session, _OPEN_TRANSACTIONS)
                raise LockNotGranted(
                    f"{seen}, on each of {number} tries",
                    expected=f"the lock within {show_seconds(limits.wait)}",
                    where=where,
                    do=f"end or wait for what holds the table; oldest open transactions: {oldest}",
                ) from error
        pause = min(_PAUSE_MOST, max(limits.wait, 0.05) * _PAUSE_GROWTH ** (number - 1))
        pause *= secrets.SystemRandom().uniform(0.5, 1.5)
        target.world.progress(
            f"{where or 'migration'}: lock not granted, try {number} of {limits.tries}, next in {show_seconds(pause)}"
        )
        target.world.clock.sleep(pause)
    raise AssertionError("limits.tries is at least 1")
