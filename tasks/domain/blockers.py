"""Who stands in a migration's way: transactions that hold what it needs, and what may be shown of them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from tasks.domain.locks import conflicts
from tasks.domain.units import show_seconds

_SHOWN = 80
# A query may be cut off by the server, so that a quote need not end.
_LITERALS = re.compile(
    r"""
      [eE]'(?:[^'\\]|\\.|'')*(?:'|$)
    | '(?:[^']|'')*(?:'|$)
    | (?P<tag>\$(?:[A-Za-z_]\w*)?\$).*?(?:(?P=tag)|$)
    | (?<![\w$])\d[\w.]*
    """,
    re.VERBOSE | re.DOTALL,
)


@dataclass(frozen=True)
class Session:
    """A session, or a prepared transaction (no ``pid``), of the database.

    ``since`` is when its transaction, or of an idle one the session, began; ``seconds`` how long ago that is. Where
    golive's role may not see that, it is how long golive has seen it, and ``since`` is None.
    """

    pid: int | None
    application: str
    user: str
    client: str
    since: datetime | None
    seconds: float
    query: str
    relation: str = ""
    mode: str = ""

    def __str__(self) -> str:
        what = f"pid {self.pid}" if self.pid is not None else "a prepared transaction"
        who = f"{self.application or 'no name'}, user {self.user or 'not known'}, from {self.client or 'a socket'}"
        begun = f"{self.since.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC" if self.since else "at least"
        holds = f" holds {self.mode} on {self.relation}," if self.relation else ""
        return f"{what} ({who}){holds} since {begun} ({show_seconds(self.seconds)}): {shown_query(self.query)}"


def shown_query(query: str) -> str:
    """Return the first 80 characters of a query on one line, without any value that stands in it."""
    plain = " ".join(_LITERALS.sub("?", query).split())
    return plain if len(plain) <= _SHOWN else f"{plain[: _SHOWN - 1]}…"


def in_the_way(
    sessions: Iterable[Session], needed: Sequence[Mapping[str, str]], *, longer_than: float
) -> list[Session]:
    """Return the sessions that hold, for longer than that, a lock that keeps the migration from one it needs.

    ``needed`` are its locks as the rehearsal measured them, each with ``relation`` and ``mode``.
    """
    modes: dict[str, list[str]] = {}
    for one in needed:
        modes.setdefault(one["relation"], []).append(one["mode"])
    return [
        one
        for one in sessions
        if one.seconds > longer_than and any(conflicts(one.mode, mode) for mode in modes.get(one.relation, ()))
    ]
