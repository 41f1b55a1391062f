"""Where a backup is restored to: named without a secret, told apart from production, looked at before it is touched."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from tasks.domain.errors import GoliveError, Refused, SqlFailed, UserError
from tasks.domain.ports import Session, World
from tasks.domain.relation import quoted
from tasks.domain.release import SYSTEM_PATTERN
from tasks.ledger.ledger import Ledger
from tasks.settings import Settings
from tasks.spec import loading
from tasks.twin import LONGEST

PATTERN = r"^(\$\{(env|file|block):[^{}]+\}|[a-z][a-z0-9-]{0,39})$"
"""How a database is named that a backup goes to: by a secret reference to its DSN, or by the system whose it is."""

_OWN = frozenset({"postgres", "template0", "template1"})
_NO_SUCH_DATABASE = "3D000"
_SESSIONS = """
    SELECT format('%%s (%%s%%s)',
                  coalesce(nullif(application_name, ''), 'unnamed'), usename, ' from ' || host(client_addr)) AS who
    FROM pg_stat_activity
    WHERE datname = %s AND pid <> pg_backend_pid() AND backend_type = 'client backend' ORDER BY backend_start
"""
# Whatever was made by somebody has such an oid: PostgreSQL's own objects lie below.
_MADE = """
    SELECT kind || ' ' || name FROM (
        SELECT 'relation', oid, oid::regclass::text, relnamespace FROM pg_class
        UNION ALL SELECT 'function', oid, oid::regproc::text, pronamespace FROM pg_proc
        UNION ALL SELECT 'type', oid, oid::regtype::text, typnamespace FROM pg_type
        UNION ALL SELECT 'schema', oid, nspname, oid FROM pg_namespace WHERE nspname !~ '^pg_(toast_)?temp_'
        UNION ALL SELECT 'extension', oid, extname, 0 FROM pg_extension
        UNION ALL SELECT 'large object', oid, oid::text, 0 FROM pg_largeobject_metadata
    ) made (kind, oid, name, namespace)
    WHERE oid >= 16384 AND namespace NOT IN (SELECT oid FROM pg_namespace WHERE nspname ~ '^pg_(toast|temp)')
    ORDER BY oid LIMIT 1
"""


@dataclass(frozen=True)
class Destination:
    """A database to be, or to be replaced. ``held`` is something that it holds, empty if nothing; ``dsn`` is secret."""

    dsn: str = field(repr=False)
    name: str
    exists: bool
    held: str
    sessions: tuple[str, ...]


def reference_of(settings: Settings, to: str) -> str:
    """Return the secret reference that ``to`` is, or that the release file of the system ``to`` has for its database.

    Raises `UserError` for anything else, which is not shown: it may hold a password.
    """
    if not re.fullmatch(PATTERN[1:-1], to):
        raise UserError(
            "the database cannot be given so",
            expected="a secret reference to its DSN, as in ${env:NAME}, or the name of a system",
            do="put the DSN into an environment variable, a file (0600) or a Prefect Secret block, and name that",
        )
    if re.fullmatch(SYSTEM_PATTERN[1:-1], to):
        return loading.load(loading.find_release_file(settings.systems, to)).database.dsn
    return to


def look_at(world: World, dsn: str) -> Destination:
    """Look at a database that a backup shall go to; raises `Refused` for one of the server's own."""
    name = world.databases.name_of(dsn)
    if len(name.encode()) > LONGEST:
        raise UserError(
            f"the database's name has {len(name.encode())} bytes, and PostgreSQL would cut it off",
            expected=f"at most {LONGEST}",
            do="give it a shorter name",
        )
    if name in _OWN:
        raise Refused(
            f"{name} belongs to the server itself",
            expected="a database of its own",
            where=world.databases.redacted(dsn),
            do="name the database at the end of the DSN; it is made if there is none",
        )
    with world.databases.session(world.databases.with_database(dsn, "postgres")) as session:
        there = session.value("SELECT count(*) FROM pg_database WHERE datname = %s", (name,)) > 0
        busy = sessions(session, name)
    held = what_is_in(world, dsn) if there else ""
    return Destination(dsn, name, there, held, tuple(busy))


def what_is_in(world: World, dsn: str) -> str:
    """Return something that a database holds, or nothing if it is as PostgreSQL makes it."""
    with world.databases.session(dsn, read_only=True) as session:
        return str(session.value(_MADE) or "")


def sessions(session: Session, name: str) -> list[str]:
    """Return who else is connected to a database."""
    return [row["who"] for row in session.query(_SESSIONS, (name,))]


def busy(name: str, who: Sequence[str]) -> Refused:
    """Return the error for a database that others use."""
    return Refused(
        f"{name} is in use by {', '.join(who[:5])}{f' and {len(who) - 5} more' if len(who) > 5 else ''}",
        expected="no other connection to it, so that nothing is written that would be lost",
        do="end them, and keep them from coming back until the restore is done",
    )


def require_fit(where: Destination, *, replace: bool) -> None:
    """Raise `Refused` if others are connected, or if the database is not empty and shall not be replaced."""
    if where.sessions:
        raise busy(where.name, where.sessions)
    if where.held and not replace:
        raise Refused(
            f"{where.name} is not empty: it holds the {where.held}",
            expected="an empty database, or one that is made",
            do="name another one, or say --replace (replace, in the form): a safety backup is then taken first",
        )


def require_roles(world: World, dsn: str, needed: Iterable[str]) -> None:
    """Raise `Refused` with the roles that a backup's owners and grants name and that the server does not have."""
    with world.databases.session(world.databases.with_database(dsn, "postgres")) as session:
        there = {row["name"] for row in session.query("SELECT rolname AS name FROM pg_roles")}
    if missing := sorted(set(needed) - there):
        made = "; ".join(f"CREATE ROLE {quoted(name)}" for name in missing)
        raise Refused(
            f"the server lacks the roles {', '.join(missing)}, to whom the backup's tables belong or are granted",
            expected="every role that the backup names",
            where=world.databases.redacted(dsn),
            do=f"make them there first: {made}",
        )


def production_of(world: World, settings: Settings, book: Ledger, dsn: str) -> str:
    """Return the system whose production a database is, or nothing.

    Two DSNs may look different and lead to one database, so servers are asked who they are. Raises `Refused` where that
    cannot be learned of a system with an active release whose database has the same name.
    """
    name = world.databases.name_of(dsn)
    kept = book.dsn
    if world.databases.name_of(kept) == name and _server(world, kept) == _server(world, dsn):
        raise Refused("that is golive's own ledger", do="name another database")
    for system, declared in _declared(settings, book):
        try:
            live = world.secrets.resolve(declared)
            began = _server(world, live) if world.databases.name_of(live) == name else None
        except GoliveError as error:
            if active := book.releases.active(system):
                raise Refused(
                    f"{system} has the active release {active.id}, and its production cannot be asked: {error.seen}",
                    expected="to be sure that this is another database",
                    do="let golive reach that production, or wait for the end of its release",
                ) from error
        else:
            if began is not None and began == _server(world, dsn):
                return system
    return ""


def refuse_under_release(book: Ledger, system: str) -> None:
    """Raise `Refused` if a release of the system is under way or under watch."""
    if active := book.releases.active(system):
        raise Refused(
            f"that is production of {system}, which has the active release {active.id} ({active.state})",
            expected="no release under way or under watch",
            do=f"take it back instead: golive rollback {system} --release {active.id}; that restores the database "
            "where no better way is proven",
        )


def _declared(settings: Settings, book: Ledger) -> Iterator[tuple[str, str]]:
    """Yield each system with the reference to its production's DSN, also those that only a release on record knows."""
    names = loading.systems_in(settings.systems)
    for row in book.releases.latest(limit=1000):
        if row.system not in names and row.mutates and row.ended_at is None:
            yield row.system, loading.parse(row.file_text, row.file).database.dsn
    for name in names:
        try:
            yield name, loading.load(loading.find_release_file(settings.systems, name)).database.dsn
        except GoliveError:
            if active := book.releases.active(name):
                yield name, loading.parse(active.file_text, active.file).database.dsn


def _server(world: World, dsn: str) -> Any:
    """Return what tells a running server from all others, also from a copy of its files."""
    try:
        return _began(world, dsn)
    except SqlFailed as error:
        if error.sqlstate != _NO_SUCH_DATABASE:
            raise
        return _began(world, world.databases.with_database(dsn, "postgres"))


def _began(world: World, dsn: str) -> Any:
    with world.databases.session(dsn, read_only=True) as session:
        return session.value("SELECT pg_postmaster_start_time()")
