"""Finds the quietest hour for a release: in what golive has counted while it watched, or in what Prometheus knows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

from tasks.checks.prometheus import Prometheus
from tasks.domain.counters import between
from tasks.domain.errors import GoliveError
from tasks.domain.off_peak import Counted, OffPeak, off_peak
from tasks.domain.target import Target
from tasks.ledger.ledger import Ledger
from tasks.spec.release_file import ReleaseFile
from tasks.windows import openings

_BACK = timedelta(days=60)
"""What is older says little of how the system is used by now."""
_ASKED_BACK = timedelta(days=28)
_APART = timedelta(hours=2, minutes=30)
"""Two counts further apart do not tell one hour from another."""


def quietest(
    book: Ledger, file: ReleaseFile, target: Callable[[], Target], at: datetime, *, earliest: datetime
) -> OffPeak | str:
    """Return the quietest hour in the change window from ``earliest`` on, beside that of ``at``; or why none is known.

    Raises nothing: it is advice.
    """
    asked = file.check(file.window.traffic) if file.window.traffic else None
    try:
        if isinstance(asked, Prometheus):
            of, counted = "requests", asked.hours_before(target(), at=book.evidence.now(), back=_ASKED_BACK)
        else:
            of, counted = "transactions", list(_on_record(book, file.system))
    except GoliveError as error:
        return error.seen
    zone = ZoneInfo(file.window.timezone)
    return off_peak(counted, zone, of=of, at=at, openings=openings(file.window, earliest))


def _on_record(book: Ledger, system: str) -> Iterator[Counted]:
    """Yield how many transactions were counted between each two looks at the system's database."""
    counts = book.evidence.traffic(system, book.evidence.now() - _BACK)
    for before, now in pairwise(counts):
        window = between(before, now, "")
        if isinstance(window, str) or window.shrunk or window.seconds is None:
            continue
        apart, came = timedelta(seconds=window.seconds), window.grown("transactions")
        if came is not None and apart <= _APART:
            yield Counted(window.until - apart, window.until, came)
