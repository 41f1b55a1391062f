"""Counters of a database server: what was counted between two looks, and whether that can be known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tasks.domain.ports import Session
from tasks.domain.units import show_seconds

# After a crash the server begins to count anew, of which only the moment tells that is kept with the background writer.
_SERVER = """
SELECT clock_timestamp() AS at, d.oid::text AS database, current_setting('server_version') AS version,
       CASE WHEN pg_is_in_recovery() THEN 'a standby'
            ELSE left(pg_walfile_name(pg_current_wal_lsn()), 8) END AS timeline,
       (SELECT extract(epoch FROM stats_reset)::text FROM pg_stat_bgwriter) AS started,
       extract(epoch FROM s.stats_reset)::text AS reset, s.stats_reset
FROM pg_database d LEFT JOIN pg_stat_database s ON s.datid = d.oid WHERE d.datname = current_database()
"""
_CHANGED = {
    "database": "it is another database",
    "version": "the server has another version",
    "timeline": "another server answers, or it was promoted",
    "started": "the server has begun to count anew, as after a crash",
    "reset": "the statistics were reset",
}


def counted(session: Session, values: Mapping[str, Any], more: Mapping[str, str | None]) -> dict[str, Any]:
    """Return counters for JSON, with the moment and all by which it is known later whether they went on counting.

    ``more`` are further marks of that kind; a counter that was reset has another mark.
    """
    row = session.query(_SERVER)[0]
    server = {key: row[key] for key in _CHANGED}
    began = row["stats_reset"].isoformat() if row["stats_reset"] else None
    return {"at": row["at"].isoformat(), "began": began, "server": {**server, **more}, "values": dict(values)}


@dataclass(frozen=True)
class Window:
    """What counters said at its beginning and say now; ``seconds`` is None if it is not known when they began."""

    since: str
    until: datetime
    seconds: float | None
    before: Mapping[str, Any]
    now: Mapping[str, Any]

    @property
    def told(self) -> str:
        """Since when, in words."""
        return self.since if self.seconds is None else f"{self.since}, {show_seconds(self.seconds)} ago"

    def grown(self, name: str) -> float | None:
        """Return by how much a counter has grown, or None if the server does not count it."""
        now, before = self.now.get(name), self.before.get(name, 0)
        return None if now is None or before is None else float(now) - float(before)

    @property
    def shrunk(self) -> str:
        """A counter that went down, which none does unless it was reset; empty if there is none."""
        return next((name for name in self.now if (grown := self.grown(name)) is not None and grown < 0), "")


def between(before: Mapping[str, Any], now: Mapping[str, Any], since: str) -> Window | str:
    """Return the window between two sets of counters, or why they cannot be held against each other."""
    for key, value in now["server"].items():
        if before["server"].get(key) != value:
            return _CHANGED.get(key, "the statistics were reset")
    until = datetime.fromisoformat(now["at"])
    seconds = (until - datetime.fromisoformat(before["at"])).total_seconds()
    return Window(since, until, seconds, before["values"], now["values"]) if seconds > 0 else "no time has passed"


def from_the_beginning(now: Mapping[str, Any]) -> Window:
    """Return the window since the server began to count."""
    until = datetime.fromisoformat(now["at"])
    seconds = (until - datetime.fromisoformat(now["began"])).total_seconds() if now["began"] else None
    return Window("since the statistics began", until, seconds, {}, now["values"])
