"""What the server counts for a database: deadlocks, conflicts, rollbacks, temporary files, damaged pages, cache."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from tasks.checks._counting import Counting, Counts, without_window
from tasks.domain.condition import all_of
from tasks.domain.counters import Window
from tasks.domain.kind import Share, Size
from tasks.domain.outcome import Outcome, Reading, judge_limit, unknown
from tasks.domain.ports import Session
from tasks.domain.units import show_bytes

# Which columns there are depends on the version; the damaged pages of what all databases share are the server's.
_COUNTERS = """
SELECT to_jsonb(s) AS own, (SELECT g.checksum_failures FROM pg_stat_database g WHERE g.datid = 0) AS shared
FROM pg_stat_database s WHERE s.datname = current_database()
"""
_PLAIN = (
    "xact_commit", "xact_rollback", "blks_read", "blks_hit", "deadlocks", "conflicts", "temp_files", "temp_bytes",
)  # fmt: skip
_LOST = ("sessions_abandoned", "sessions_fatal", "sessions_killed")


class DatabaseStatistics(Counting):
    """Looks at what the server has counted for the database since an earlier look, against a limit for each."""

    kind: Literal["database_statistics"] = "database_statistics"
    """Which kind of check this is."""
    deadlocks: Annotated[int | None, Field(ge=0, examples=[0])] = None
    """How many deadlocks there may have been."""
    conflicts: Annotated[int | None, Field(ge=0)] = None
    """How many statements may have been cancelled on a standby because they conflicted with its recovery."""
    rollbacks: Share | None = Field(default=None, examples=["5%"])
    """The most of the transactions that may have been rolled back."""
    min_transactions: Annotated[int, Field(ge=1)] = 100
    """How many transactions there must have been to judge ``rollbacks``; with fewer it is unknown."""
    temp_files: Annotated[int | None, Field(ge=0)] = None
    """How many temporary files statements may have written for want of ``work_mem``."""
    temp_bytes: Size | None = Field(default=None, examples=["1 GiB"])
    """How much they may have written."""
    checksum_failures: Annotated[int | None, Field(ge=0, examples=[0])] = None
    """How many damaged pages may have been read, in this database and in what all databases share."""
    lost_sessions: Annotated[int | None, Field(ge=0)] = None
    """How many sessions may have ended because the client was gone, by a fatal error, or by an administrator
    (PostgreSQL 14 and newer)."""
    cache_hit: Share | None = Field(default=None, examples=["99%"])
    """The least of the pages read that must have been found in ``shared_buffers``."""
    min_reads: Annotated[int, Field(ge=1)] = 10_000
    """How many pages must have been read to judge ``cache_hit``; with fewer it is unknown."""

    @model_validator(mode="after")
    def _asks_something(self) -> Self:
        limits = (self.deadlocks, self.conflicts, self.rollbacks, self.temp_files, self.temp_bytes)
        if all(one is None for one in (*limits, self.checksum_failures, self.lost_sessions, self.cache_hit)):
            raise ValueError(
                "one of deadlocks, conflicts, rollbacks, temp_files, temp_bytes, checksum_failures, lost_sessions, "
                "cache_hit is needed"
            )
        return self

    def count(self, session: Session) -> Counts:
        """Return the database's counters; null stands for what this server does not count."""
        row = session.query(_COUNTERS)[0]
        own = row["own"]
        values: dict[str, Any] = {name: own[name] for name in _PLAIN}
        damaged = own.get("checksum_failures")
        values["checksum_failures"] = None if damaged is None else damaged + (row["shared"] or 0)
        values["lost_sessions"] = sum(own[name] for name in _LOST) if _LOST[0] in own else None
        return Counts(values)

    def judge(self, session: Session, now: Counts, window: Window | str) -> Reading:  # noqa: ARG002 - the base's
        """Return each counter that was asked for against its limit."""
        if isinstance(window, str):
            return without_window("what was counted", window)
        if window.shrunk:
            return unknown(f"{window.shrunk} went down {window.told}: the statistics were reset")
        readings = [
            judge_limit(window.grown(name), limit, "", f"{words} {window.told}")
            for name, limit, words in (
                ("deadlocks", self.deadlocks, "deadlocks"),
                ("conflicts", self.conflicts, "conflicts with recovery"),
                ("temp_files", self.temp_files, "temporary files"),
            )
            if limit is not None
        ]
        if self.temp_bytes is not None:
            readings.append(_bytes(window.grown("temp_bytes") or 0.0, self.temp_bytes, window.told))
        if self.checksum_failures is not None:
            readings.append(self._damaged(window, self.checksum_failures))
        if self.lost_sessions is not None:
            readings.append(judge_limit(window.grown("lost_sessions"), self.lost_sessions, "", "lost sessions"))
        if self.rollbacks is not None:
            readings.append(
                _share(window, "xact_rollback", "xact_commit", self.min_transactions, "transactions rolled back",
                       at_most=self.rollbacks)
            )  # fmt: skip
        if self.cache_hit is not None:
            readings.append(
                _share(window, "blks_hit", "blks_read", self.min_reads, "pages found in the cache",
                       at_least=self.cache_hit)
            )  # fmt: skip
        return all_of(readings, detail={name: window.grown(name) for name in now.values})

    def _damaged(self, window: Window, limit: int) -> Reading:
        if window.grown("checksum_failures") is None:
            return unknown("damaged pages are not noticed: the server keeps no checksums of its pages")
        return judge_limit(window.grown("checksum_failures"), limit, "", f"damaged pages read {window.told}")


def _bytes(value: float, limit: float, told: str) -> Reading:
    outcome = Outcome.PASSED if value <= limit else Outcome.FAILED
    seen = f"temporary files {told}: {show_bytes(value)} ≤ {show_bytes(limit)}"
    return Reading(outcome, seen, value=value, unit="bytes", limit=limit)


def _share(
    window: Window, part: str, rest: str, least: int, words: str, *, at_most: float = 1.0, at_least: float | None = None
) -> Reading:
    counted = window.grown(part) or 0.0
    total = counted + (window.grown(rest) or 0.0)
    if total < least:
        return unknown(f"{words}: {counted:.0f} of {total:.0f} {window.told}; {least} are needed to judge")
    share = counted / total
    limit = at_most if at_least is None else at_least
    holds, sign = (share <= limit, "≤") if at_least is None else (share >= limit, "≥")
    seen = f"{words} {share:.2%} {sign} {limit:.2%}, of {total:.0f} {window.told}"
    outcome = Outcome.PASSED if holds else Outcome.FAILED
    return Reading(outcome, seen, value=round(share * 100, 3), unit="%", limit=limit * 100)
