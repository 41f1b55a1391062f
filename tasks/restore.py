"""Brings a database back from its backup: restored beside the live one, then swapped in by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tasks.archive import Archive, require_equal
from tasks.context import Context
from tasks.domain.ports import Session
from tasks.fingerprint import change_counters, fingerprint


def written_since(ctx: Context, taken: Archive) -> int | None:
    """Return how many rows changed since the backup, or None where the statistics were reset meanwhile.

    The server reports its counters with a delay of up to a second. What the migration itself wrote counts too.
    """
    before: dict[str, int] = taken.manifest.get("counters", {})
    with ctx.world.databases.session(ctx.target().dsn, read_only=True) as session:
        now = change_counters(session)
    gone = {name for name, count in before.items() if now.get(name, 0) < count}
    if gone or not before:
        return None
    return sum(count - before.get(name, 0) for name, count in now.items())


def swap_in_restored(ctx: Context, taken: Archive) -> Mapping[str, Any]:
    """Restore a backup beside the live database, compare it, and exchange the two by name.

    The live one is kept aside. Connections to it are ended in the moment of the exchange and named in the evidence.
    """
    databases, tools = ctx.world.databases, ctx.world.pg_tools
    live = ctx.target().dsn
    name = databases.name_of(live)
    stamp = f"{ctx.world.clock.now():%Y%m%d%H%M%S}"
    incoming, aside = f"{name[:40]}_restored_{stamp}", f"{name[:40]}_before_{stamp}"
    admin = databases.with_database(live, "postgres")
    with databases.session(admin) as session:
        session.execute(f"CREATE DATABASE {_quoted(incoming)} TEMPLATE template0")
        version = session.server_version
    new = databases.with_database(live, incoming)
    tools.restore(
        taken.dump,
        new,
        server_version=version,
        jobs=ctx.file.backup.jobs,
        timeout=ctx.file.backup.timeout,
        keep_rights=True,
    )
    with databases.session(new) as session:
        require_equal(taken, fingerprint(session))
        session.execute("ANALYZE")
    began = ctx.world.clock.monotonic()
    with databases.session(admin) as session:
        ended = _exchange(session, name, incoming, aside)
    return {"kept_aside": aside, "ended_connections": ended, "exchange_seconds": ctx.world.clock.monotonic() - began}


def _exchange(session: Session, name: str, incoming: str, aside: str) -> list[str]:
    session.execute(f"ALTER DATABASE {_quoted(name)} ALLOW_CONNECTIONS false")
    try:
        ended = session.query(
            "SELECT application_name || ' (' || coalesce(usename, '') || ')' AS who, pg_terminate_backend(pid, 5000) "
            "FROM pg_stat_activity WHERE datname = %s AND pid <> pg_backend_pid()",
            (name,),
        )
        with session.transaction():
            session.execute(f"ALTER DATABASE {_quoted(name)} RENAME TO {_quoted(aside)}")
            session.execute(f"ALTER DATABASE {_quoted(incoming)} RENAME TO {_quoted(name)}")
    except BaseException:
        session.execute(f"ALTER DATABASE {_quoted(name)} ALLOW_CONNECTIONS true")
        raise
    session.execute(f"ALTER DATABASE {_quoted(aside)} ALLOW_CONNECTIONS true")
    return [row["who"] for row in ended]


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
