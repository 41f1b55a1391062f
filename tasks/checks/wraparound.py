"""How near the server's transaction numbers are to their end."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from tasks.checks import Check
from tasks.domain.condition import all_of
from tasks.domain.kind import Share
from tasks.domain.outcome import Outcome, Reading
from tasks.domain.ports import Row
from tasks.domain.target import Target

_LAST = 2**31
"""So many transactions, or multixacts, can be told apart from older ones."""
# Each database can stop the whole server; which of its tables is to blame is known only in the one looked at.
_DATABASES = """
SELECT datname::text AS name, age(datfrozenxid) AS xid, mxid_age(datminmxid) AS multixact,
       datname = current_database() AS here
FROM pg_database ORDER BY greatest(age(datfrozenxid), mxid_age(datminmxid)) DESC
"""
_TABLES = """
SELECT c.oid::regclass::text AS name, greatest(age(c.relfrozenxid), coalesce(age(t.relfrozenxid), 0)) AS xid,
       greatest(mxid_age(c.relminmxid), coalesce(mxid_age(t.relminmxid), 0)) AS multixact
FROM pg_class c LEFT JOIN pg_class t ON t.oid = c.reltoastrelid
WHERE c.relkind IN ('r', 'm') ORDER BY greatest(age(c.relfrozenxid), mxid_age(c.relminmxid)) DESC LIMIT 5
"""
# What keeps vacuum from freezing: golive may not see every session's, and those of which it sees nothing are left out.
_HOLDS_BACK = """
SELECT 'slot ' || slot_name AS what, greatest(age(xmin), age(catalog_xmin)) AS age FROM pg_replication_slots
UNION ALL SELECT 'prepared transaction ' || gid, age(transaction) FROM pg_prepared_xacts
UNION ALL SELECT 'session ' || pid, age(backend_xmin) FROM pg_stat_activity WHERE pid <> pg_backend_pid()
ORDER BY 2 DESC NULLS LAST LIMIT 5
"""


class Wraparound(Check):
    """Looks how many of its transaction numbers the server can still give out before it must stop."""

    advice: ClassVar[str] = (
        "find what holds rows back: old transactions, prepared ones and replication slots; then VACUUM (FREEZE) "
        "the oldest tables"
    )

    kind: Literal["wraparound"] = "wraparound"
    """Which kind of check this is."""
    used: Annotated[Share, Field(le=1)] = 0.25
    """The most of the 2,147,483,648 numbers that the oldest unfrozen row may be behind, of transactions as of
    multixacts. Vacuum begins to freeze at about 9% unless it is configured otherwise."""
    dsn: str = "{dsn}"
    """A database of the server; by default that of the system. Every database of its server is looked at."""

    def look(self, target: Target) -> Reading:
        """Return the oldest database of the server, with the oldest tables and what may hold vacuum back."""
        with target.world.databases.session(
            target.fill(self.dsn), read_only=True, statement_timeout=self.timeout
        ) as session:
            databases = session.query(_DATABASES)
            detail: dict[str, Any] = {"databases": {row.pop("name"): row for row in map(dict, databases)}}
            detail["tables"] = {row.pop("name"): row for row in session.query(_TABLES)}
            detail["held_back_by"] = [row for row in session.query(_HOLDS_BACK) if row["age"] is not None]
        readings = [self._judge(databases, counter) for counter in ("xid", "multixact")]
        return all_of(readings, detail=detail)

    def _judge(self, databases: list[Row], counter: str) -> Reading:
        oldest = max(databases, key=lambda row: int(row[counter]))
        share = oldest[counter] / _LAST
        words = {"xid": "transactions", "multixact": "multixacts"}[counter]
        seen = f"{words}: database {oldest['name']} is {oldest[counter]} behind, {share:.2%} ≤ {self.used:.0%}"
        outcome = Outcome.PASSED if share <= self.used else Outcome.FAILED
        return Reading(outcome, seen, value=round(share * 100, 4), unit="%", limit=self.used * 100)
