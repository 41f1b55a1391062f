"""Standbys and replication slots."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from tasks.checks import Check
from tasks.domain.condition import all_of, held
from tasks.domain.kind import Duration, Size
from tasks.domain.outcome import Outcome, Reading, failed, passed, unknown
from tasks.domain.ports import Row, Session
from tasks.domain.target import Target
from tasks.domain.units import show_bytes, show_seconds
from tasks.domain.visibility import hidden

# What only receives the log, as pg_receivewal does, replays nothing. All but name and user are hidden from some.
_STANDBYS = """
SELECT coalesce(nullif(r.application_name, ''), r.pid::text) AS name, host(r.client_addr) AS client, r.state,
       r.sync_state, r.state IS NULL AS hidden,
       (pg_current_wal_lsn() - coalesce(r.replay_lsn, r.flush_lsn))::bigint AS bytes,
       extract(epoch FROM coalesce(r.replay_lag, r.flush_lag))::float8 AS seconds
FROM pg_stat_replication r WHERE r.state IS DISTINCT FROM 'backup' ORDER BY 1
"""
_SLOTS = """
SELECT s.slot_name::text AS name, s.slot_type AS type, s.active,
       (pg_current_wal_lsn() - s.restart_lsn)::bigint AS bytes,
       to_jsonb(s) ->> 'wal_status' AS wal_status, to_jsonb(s) ->> 'invalidation_reason' AS invalid
FROM pg_replication_slots s WHERE NOT s.temporary ORDER BY 1
"""
# While nothing is written nothing is replayed; what was received and replayed tells the two apart.
_STANDBY = """
SELECT (SELECT status FROM pg_stat_wal_receiver) AS state, NOT EXISTS (SELECT FROM pg_stat_wal_receiver) AS gone,
       (pg_last_wal_receive_lsn() - pg_last_wal_replay_lsn())::bigint AS bytes,
       CASE WHEN pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn() THEN 0
            ELSE extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp()) END::float8 AS seconds
"""


class Replication(Check):
    """Looks how far standbys are behind, and whether replication slots keep the server's log from being removed."""

    advice: ClassVar[str] = (
        "see pg_stat_replication on the primary and pg_stat_wal_receiver on the replica, and the load of both"
    )

    kind: Literal["replication"] = "replication"
    """Which kind of check this is."""
    standbys: Annotated[int, Field(ge=0)] = 1
    """How many standbys must be streaming; 0 where only slots are to be looked at."""
    synchronous: Annotated[int, Field(ge=0)] = 0
    """How many of them must be synchronous."""
    lag: Size | None = 100_000_000
    """The most of the log that a standby may still have to replay."""
    delay: Duration | None = 60.0
    """The longest that it may take until a standby has replayed what was written."""
    inactive_slots: bool = False
    """Whether a slot may have nobody that reads it; it keeps the log until the disk is full."""
    retained: Size | None = 10_000_000_000
    """The most of the log that a slot may retain."""
    dsn: str = "{dsn}"
    """The server; by default that of the system. A standby tells only how far it is behind itself."""

    def look(self, target: Target) -> Reading:
        """Return how far each standby is behind and what each slot retains; nothing to look at is unknown."""
        with target.world.databases.session(
            target.fill(self.dsn), read_only=True, statement_timeout=self.timeout
        ) as session:
            if session.value("SELECT pg_is_in_recovery()"):
                row = session.query(_STANDBY)[0]
                return self._judge_standby(session, {"name": "this standby", **row})
            standbys, slots = session.query(_STANDBYS), session.query(_SLOTS)
            unseen = [row["name"] for row in standbys if row["hidden"]]
            readings = [hidden(session, f"standbys {', '.join(unseen)} are")] if unseen else []
        readings += self._judge_standbys([row for row in standbys if not row["hidden"]], len(unseen))
        readings += [reading for row in slots for reading in self._judge_slot(row)]
        detail = {"standbys": standbys, "slots": slots}
        if not readings:
            return unknown("there is neither a standby nor a slot to look at", detail=detail)
        return all_of(readings, detail=detail)

    def _judge_standbys(self, rows: list[Row], unseen: int) -> list[Reading]:
        streaming = [row for row in rows if row["state"] == "streaming"]
        firm = [row for row in streaming if row["sync_state"] in ("sync", "quorum")]
        readings = []
        for found, wanted, words in (
            (len(streaming), self.standbys, "standbys stream"),
            (len(firm), self.synchronous, "standbys are synchronous"),
        ):
            if found + unseen >= wanted > found:
                readings.append(unknown(f"{found} {words} that golive may see ≥ {wanted}"))
            elif wanted:
                readings.append(held(f"{found} {words} ≥ {wanted}", found >= wanted))
        return readings + [reading for row in rows for reading in self._judge_lag(row)]

    def _judge_lag(self, row: Row) -> list[Reading]:
        readings = []
        name, behind, seconds = row["name"], row["bytes"], row["seconds"]
        if self.lag is not None:
            readings.append(_held(f"{name} is behind by", behind, self.lag, show_bytes, "bytes"))
        if self.delay is not None:
            # The server forgets the time once a standby has replayed all.
            caught_up = seconds is None and behind is not None and behind <= 0
            readings.append(_held(f"{name} is late by", 0.0 if caught_up else seconds, self.delay, show_seconds, "s"))
        return readings

    def _judge_slot(self, row: Row) -> list[Reading]:
        name, readings = f"slot {row['name']}", []
        if row["invalid"] or row["wal_status"] in {"lost", "unreserved"}:
            why = row["invalid"] or row["wal_status"]
            return [failed(f"{name} no longer retains all that it must ({why}): what reads it has to be made anew")]
        if not self.inactive_slots:
            readings.append(held(f"{name} is {'read' if row['active'] else 'read by nobody'}", row["active"]))
        if self.retained is not None and row["bytes"] is not None:
            readings.append(_held(f"{name} retains", row["bytes"], self.retained, show_bytes, "bytes"))
        return readings or [passed(f"{name} retains nothing")]

    def _judge_standby(self, session: Session, row: Row) -> Reading:
        if row["gone"]:
            first = failed("this standby receives nothing")
        elif row["state"] is None:
            first = hidden(session, "what this standby receives is")
        else:
            first = held(f"this standby is {row['state']}", row["state"] == "streaming")
        return all_of([first, *self._judge_lag(row)], detail=row)


def _held(words: str, value: Any, limit: float, show: Any, unit: str) -> Reading:
    if value is None:
        return unknown(f"{words}: not told (limit {show(limit)})")
    outcome = Outcome.PASSED if value <= limit else Outcome.FAILED
    return Reading(outcome, f"{words} {show(max(0, value))} ≤ {show(limit)}", value=value, unit=unit, limit=limit)
