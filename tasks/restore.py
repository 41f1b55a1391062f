"""Brings a database back from its backup: restored beside the live one, then swapped in by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from typing import Any

from tasks.context import Context
from tasks.domain.archive import Archive
from tasks.domain.errors import GoliveError, NeedsPerson, OutsideError, RehearsalFailed
from tasks.domain.fingerprint import change_counters
from tasks.domain.ports import Session
from tasks.domain.relation import quoted
from tasks.domain.way_back import rows_changed
from tasks.dropping import drop_database
from tasks.scratch import Scratch
from tasks.twin import beside, create_like

ANY_LOSS = 1_000_000_000
"""So many rows, or more, accept any loss: also an unknown one, which no smaller number can be held against."""

_NOT_MINE_TO_END = """
SELECT DISTINCT usename AS who FROM pg_stat_activity
WHERE datname = %s AND usesysid IS NOT NULL AND NOT pg_has_role(usesysid, 'USAGE')
  AND (usesysid IN (SELECT oid FROM pg_roles WHERE rolsuper) OR NOT pg_has_role('pg_signal_backend', 'USAGE'))
ORDER BY 1
"""


def written_since(ctx: Context, taken: Archive) -> int | None:
    """Return how many rows changed since the backup, or None where the statistics were reset meanwhile.

    The server reports its counters with a delay of some seconds while a session lasts. What the migration itself wrote
    counts too.
    """
    with ctx.world.databases.session(ctx.target().dsn, read_only=True) as session:
        return _changed(session, taken)


def _changed(session: Session, taken: Archive) -> int | None:
    return rows_changed(taken.manifest.get("counters", {}), change_counters(session))


def require_accepted(lost: int | None, accepted: int, *, do: str) -> None:
    """Raise `NeedsPerson` with the number of changed rows that a restore loses, unless so many are accepted."""
    if lost == 0 or accepted >= ANY_LOSS or (lost is not None and lost <= accepted):
        return
    count = "an unknown number of" if lost is None else str(lost)
    enough = ANY_LOSS if lost is None else lost
    raise NeedsPerson(
        f"the only proven way back is the restore of the backup, which loses {count} changed rows",
        expected=f"at most {accepted}, as was accepted" if accepted >= 0 else "a person who accepts that",
        do=f"{do} --accept-loss {enough}, or more if it still writes",
    )


def swap_in_restored(ctx: Context, taken: Archive, *, accept_loss: int, do: str) -> Mapping[str, Any]:
    """Restore a backup beside the live database, compare it, and exchange the two by name.

    The live one is kept aside. Connections to it are ended in the moment of the exchange and named in the evidence.
    What was written to it since the backup is counted once they have ended: if that is more than ``accept_loss``,
    nothing is exchanged, the live database opens again and `NeedsPerson` is raised.
    """
    databases = ctx.world.databases
    live = ctx.target().dsn
    name = databases.name_of(live)
    stamp = f"{ctx.world.clock.now():%Y%m%d%H%M%S}"
    incoming, aside = beside(name, f"restored_{stamp}"), beside(name, f"before_{stamp}")
    admin = databases.with_database(live, "postgres")
    with databases.session(admin) as session:
        create_like(session, name, incoming)
        new = databases.with_database(live, incoming)
        try:
            ctx.file.backup.put_back(ctx.world, taken, new, Scratch(ctx))
            began = ctx.world.clock.monotonic()
            with ExitStack() as last:
                # Opened while the database still lets sessions in.
                counting = last.enter_context(databases.session(live, read_only=True))

                def settle_loss() -> int | None:
                    lost = _changed(counting, taken)
                    require_accepted(lost, accept_loss, do=do)
                    last.close()
                    return lost

                pid = counting.value("SELECT pg_backend_pid()")
                ended, lost = _exchange(session, name, incoming, aside, spared=pid, settle_loss=settle_loss)
            took = ctx.world.clock.monotonic() - began
        except BaseException:
            with suppress(GoliveError):
                drop_database(ctx.world, session, new)
            raise
    return {"lost_rows": lost, "kept_aside": aside, "ended_connections": ended, "exchange_seconds": took}


def require_possible(ctx: Context) -> Mapping[str, Any]:
    """Make an empty database like production beside it, as a restore would, and drop it again.

    Raises `RehearsalFailed` where golive's role may not, or may not end the sessions of those who are connected now.
    """
    databases, live = ctx.world.databases, ctx.target().dsn
    name = databases.name_of(live)
    made = databases.with_database(live, beside(name, "could_be_restored"))
    with databases.session(databases.with_database(live, "postgres")) as session:
        who = [row["who"] for row in session.query(_NOT_MINE_TO_END, (name,))]
        if who:
            raise _not_possible(
                f"golive's role may not end the sessions of {', '.join(who)}, who are connected now",
                "pg_signal_backend, and no superuser connected, whom only a superuser may send away",
            )
        try:
            drop_database(ctx.world, session, made)
            create_like(session, name, databases.name_of(made))
        except OutsideError as error:
            raise _not_possible(error.seen, "the right to create databases, and to give them their owner") from error
        finally:
            with suppress(GoliveError):
                drop_database(ctx.world, session, made)
    return {"like": name}


def _not_possible(seen: str, lacks: str) -> RehearsalFailed:
    return RehearsalFailed(
        f"the only way back is a restore, and that could not be made: {seen}",
        expected=f"a role with {lacks}",
        where="database.dsn",
        do="give golive's role what it lacks; or make a way down, or a migration on which the old version runs",
    )


def reopen(ctx: Context) -> None:
    """Let sessions into the live database again, should an earlier exchange have been killed half way."""
    databases, live = ctx.world.databases, ctx.target().dsn
    name = databases.name_of(live)
    with databases.session(databases.with_database(live, "postgres")) as session:
        if session.value("SELECT datallowconn FROM pg_database WHERE datname = %s", (name,)) is False:
            session.execute(f"ALTER DATABASE {quoted(name)} ALLOW_CONNECTIONS true")


def _exchange(
    session: Session, name: str, incoming: str, aside: str, *, spared: int, settle_loss: Callable[[], int | None]
) -> tuple[list[str], int | None]:
    """Exchange the two by name, once nobody writes any more and ``settle_loss`` has raised nothing.

    Returns whose connections were ended and what is lost. The backend ``spared`` is left for ``settle_loss`` to end.
    """
    session.execute(f"ALTER DATABASE {quoted(name)} ALLOW_CONNECTIONS false")
    try:
        ended = session.query(
            "SELECT application_name || ' (' || coalesce(usename, '') || ')' AS who, pg_terminate_backend(pid, 5000) "
            # PostgreSQL itself sends autovacuum away, which nobody else may.
            "FROM pg_stat_activity WHERE datname = %s AND usesysid IS NOT NULL AND pid NOT IN (pg_backend_pid(), %s)",
            (name, spared),
        )
        lost = settle_loss()
        with session.transaction():
            session.execute(f"ALTER DATABASE {quoted(name)} RENAME TO {quoted(aside)}")
            session.execute(f"ALTER DATABASE {quoted(incoming)} RENAME TO {quoted(name)}")
            session.execute(f"ALTER DATABASE {quoted(aside)} ALLOW_CONNECTIONS true")
    except BaseException:
        session.execute(f"ALTER DATABASE {quoted(name)} ALLOW_CONNECTIONS true")
        raise
    return [row["who"] for row in ended], lost
