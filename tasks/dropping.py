"""How a database of golive's own goes: with whoever is connected to it, and with its subscriptions."""

from __future__ import annotations

from tasks.domain.ports import Session, World
from tasks.domain.relation import quoted

_SUBSCRIPTIONS = """
    SELECT s.subname AS name FROM pg_subscription s JOIN pg_database d ON d.oid = s.subdbid WHERE d.datname = %s
"""


def drop_database(world: World, server: Session, dsn: str) -> None:
    """Drop a database if it is there; ``server`` is a session in another one of its server.

    One that holds subscriptions cannot be dropped. A copy's are given up without a word to their publishers, where the
    slots that they name are production's.
    """
    name = world.databases.name_of(dsn)
    if held := [row["name"] for row in server.query(_SUBSCRIPTIONS, (name,))]:
        with world.databases.session(dsn) as session:
            for one in map(quoted, held):
                session.execute(f"ALTER SUBSCRIPTION {one} DISABLE")
                session.execute(f"ALTER SUBSCRIPTION {one} SET (slot_name = NONE)")
                session.execute(f"DROP SUBSCRIPTION {one}")
    server.execute(f"DROP DATABASE IF EXISTS {quoted(name)} WITH (FORCE)")
