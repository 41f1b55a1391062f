"""How large tables are, how fast they grow, and when they will reach a limit."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from tasks.checks._counting import Counting, Counts, Since
from tasks.domain.condition import all_of
from tasks.domain.counters import Window
from tasks.domain.kind import Duration, Size
from tasks.domain.outcome import Outcome, Reading, passed, unknown
from tasks.domain.ports import Session
from tasks.domain.relation import not_of
from tasks.domain.units import show_bytes, show_seconds

_DAY = 86400.0
_FARTHEST = 100 * 365 * _DAY
# A partitioned table is the sum of its parts. The server's own count of rows is taken, since counting them is dear.
_TABLE = """
SELECT coalesce(sum(pg_total_relation_size(p.oid)), 0)::bigint AS bytes,
       CASE WHEN bool_and(c.reltuples > 0 OR s.n_live_tup > 0 OR pg_relation_size(p.oid) = 0)
            THEN sum(coalesce(nullif(s.n_live_tup, 0), greatest(c.reltuples, 0)))::bigint END AS rows,
       sum(s.n_tup_ins)::bigint AS inserted, sum(s.n_tup_upd)::bigint AS updated, sum(s.n_tup_del)::bigint AS deleted
FROM (SELECT to_regclass(%(name)s)::oid AS oid
      UNION SELECT relid::oid FROM pg_partition_tree(to_regclass(%(name)s))) p
JOIN pg_class c ON c.oid = p.oid LEFT JOIN pg_stat_all_tables s ON s.relid = p.oid WHERE c.relkind <> 'p'
"""
_DATABASE = """
SELECT pg_database_size(current_database()) AS bytes, NULL AS rows,
       tup_inserted AS inserted, tup_updated AS updated, tup_deleted AS deleted
FROM pg_stat_database WHERE datname = current_database()
"""
_WRITES = ("inserted", "updated", "deleted")


@dataclass(frozen=True)
class _Pace:
    """What has been added to one quantity since some seconds ago."""

    now: float
    added: float
    seconds: float
    at: datetime

    @property
    def per_day(self) -> float:
        return self.added / self.seconds * _DAY

    def until(self, limit: float) -> float | None:
        """Return in how many seconds a limit is reached at this pace, or None if it never is."""
        if self.now >= limit:
            return 0.0
        return (limit - self.now) * self.seconds / self.added if self.added > 0 else None


class TableGrowth(Counting):
    """Looks how large tables, or the whole database, are, how fast they grow, and when they will reach a limit."""

    advice: ClassVar[str] = (
        "see who writes there: the statements with INSERT and UPDATE in pg_stat_statements; an old transaction "
        "keeps dead rows"
    )

    kind: Literal["table_growth"] = "table_growth"
    """Which kind of check this is."""
    since: Since = "first"
    """From when growth counts: ``first`` (the check's first look in this release, so that what the migration added
    does not count), ``look`` (its last), ``release`` (what was recorded before the release), or ``reset``, by which
    there is none."""
    tables: tuple[str, ...] = Field(default=(), examples=[["public.task_status_history"]])
    """The tables, as in SQL, each with its partitions, indexes and TOAST; by default the whole database."""
    size: Size | None = Field(default=None, examples=["500MB"])
    """The most that each of them may take up."""
    rows: Annotated[int | None, Field(ge=0)] = None
    """The most rows that each table may hold, by the server's estimate."""
    per_day: Size | None = Field(default=None, examples=["1GB"])
    """The most by which each may grow in a day."""
    rows_per_day: Annotated[int | None, Field(ge=0)] = None
    """The most rows by which each may grow in a day."""
    ahead: Duration | None = Field(default=None, examples=["90d"])
    """For how long at least ``size`` and ``rows`` must not be reached, if it goes on growing as it does."""
    bytes_per_row: Annotated[int | None, Field(ge=1)] = None
    """The most bytes that a row may take up, indexes included; a table of fewer than 1,000 rows is unknown."""
    min_window: Annotated[Duration, Field(gt=0)] = 3600.0
    """How long a time growth must have been watched to be judged."""

    @model_validator(mode="after")
    def _asks_something(self) -> Self:
        limits = (self.size, self.rows, self.per_day, self.rows_per_day, self.bytes_per_row)
        if all(limit is None for limit in limits):
            raise ValueError("one of size, rows, per_day, rows_per_day, bytes_per_row is needed")
        if self.ahead is not None and self.size is None and self.rows is None:
            raise ValueError("ahead needs size or rows, the limit that is not to be reached")
        if not self.tables and (self.rows, self.rows_per_day, self.bytes_per_row) != (None, None, None):
            raise ValueError("rows, rows_per_day and bytes_per_row need tables: a database's rows are not counted")
        return self

    def count(self, session: Session) -> Counts:
        """Return size, rows and writes of each table."""
        if not self.tables:
            return Counts({"the database": session.query(_DATABASE)[0]})
        gone = not_of(session, self.tables, "rmp")
        return Counts(
            {name: None if name in gone else session.query(_TABLE, {"name": name})[0] for name in self.tables}
        )

    def judge(self, session: Session, now: Counts, window: Window | str) -> Reading:  # noqa: ARG002 - the base's
        """Return what is over a limit, or will be; growth that was not watched for long enough is unknown."""
        readings, detail = [], {}
        for name, values in now.values.items():
            if values is None:
                readings.append(unknown(f"{name} is not a table"))
                continue
            readings += self._judge_now(name, values)
            paces = {what: _pace(window, name, what, self.min_window) for what in ("bytes", "rows")}
            if self._asks_for_growth:
                readings += self._judge_growth(name, paces)
            detail[name] = {**values, **_told(window, name, paces)}
        if all(one.outcome is Outcome.PASSED for one in readings):
            seen = "; ".join(one.seen for one in readings[:3])
            return _first_value(
                readings, seen if len(readings) <= 3 else f"{seen} and {len(readings) - 3} more", detail
            )
        return all_of(readings, detail={"tables": detail})

    @property
    def compares(self) -> bool:
        """Whether growth is judged, which nobody can tell by one look."""
        return super().compares and self._asks_for_growth

    @property
    def _asks_for_growth(self) -> bool:
        return any(limit is not None for limit in (self.per_day, self.rows_per_day, self.ahead))

    def _judge_now(self, name: str, values: dict[str, Any]) -> list[Reading]:
        readings, rows = [], values["rows"]
        if self.size is not None:
            readings.append(_held(f"{name} takes", values["bytes"], self.size, "bytes"))
        if rows is None and (self.rows is not None or self.bytes_per_row is not None):
            readings.append(unknown(f"{name}: the server has not counted its rows; run ANALYZE"))
        elif self.rows is not None:
            readings.append(_held(f"{name} has", rows, self.rows, "rows"))
        if rows is not None and self.bytes_per_row is not None:
            if rows < 1000:
                readings.append(unknown(f"{name} has {rows} rows, too few to tell what one takes"))
            else:
                readings.append(_held(f"a row of {name} takes", values["bytes"] / rows, self.bytes_per_row, "bytes"))
        return readings

    def _judge_growth(self, name: str, paces: dict[str, _Pace | str]) -> list[Reading]:
        readings = []
        for what, limit, daily in (("bytes", self.size, self.per_day), ("rows", self.rows, self.rows_per_day)):
            pace = paces[what]
            asked = daily is not None or (self.ahead is not None and limit is not None)
            if asked and isinstance(pace, str):
                readings.append(unknown(f"how fast {name} grows cannot be known: {pace}"))
            elif asked and isinstance(pace, _Pace):
                if daily is not None:
                    readings.append(_held(f"{name} grows in a day by", pace.per_day, daily, what))
                if self.ahead is not None and limit is not None:
                    readings.append(_forecast(name, pace, limit, what, self.ahead))
        return readings


def _pace(window: Window | str, name: str, what: str, least: float) -> _Pace | str:
    if isinstance(window, str):
        return window
    before, now = window.before.get(name), window.now[name]
    if not before or before[what] is None or now[what] is None:
        return "it was not there, or not counted, at the earlier look"
    if window.seconds is None or window.seconds < least:
        return f"it was watched for {show_seconds(window.seconds or 0)}, and {show_seconds(least)} are needed"
    return _Pace(float(now[what]), float(now[what]) - float(before[what]), window.seconds, window.until)


def _told(window: Window | str, name: str, paces: dict[str, _Pace | str]) -> dict[str, Any]:
    told: dict[str, Any] = {f"{what}_per_day": round(p.per_day) for what, p in paces.items() if isinstance(p, _Pace)}
    if isinstance(window, Window) and (before := window.before.get(name)):
        told |= {f"{write}_since": (window.now[name][write] or 0) - (before[write] or 0) for write in _WRITES}
        told["since"] = window.told
    return told


def _show(value: float, unit: str) -> str:
    return show_bytes(value) if unit == "bytes" else f"{value:.0f} {unit}"


def _held(words: str, value: float, limit: float, unit: str) -> Reading:
    outcome = Outcome.PASSED if value <= limit else Outcome.FAILED
    return Reading(outcome, f"{words} {_show(value, unit)} ≤ {_show(limit, unit)}", value, unit, limit)


def _forecast(name: str, pace: _Pace, limit: float, unit: str, ahead: float) -> Reading:
    left, grown = pace.until(limit), f"{_show(pace.per_day, unit)} a day"
    if left is None or left > _FARTHEST:
        return passed(f"{name} does not come to {_show(limit, unit)} at {grown}")
    day = f"{pace.at + timedelta(seconds=left):%Y-%m-%d}"
    seen = f"{name} comes to {_show(limit, unit)} on {day}, in {show_seconds(left)} ≥ {show_seconds(ahead)}, at {grown}"
    return Reading(Outcome.PASSED if left >= ahead else Outcome.FAILED, seen, round(left), "s", ahead)


def _first_value(readings: list[Reading], seen: str, detail: dict[str, Any]) -> Reading:
    first = readings[0]
    return passed(seen, value=first.value, unit=first.unit, limit=first.limit, detail={"tables": detail})
