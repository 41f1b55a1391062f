"""The backup as a dump of one database: small, portable between versions, and exact while production goes on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from tasks.backups import Backup, Place
from tasks.domain.archive import Archive, database_size, exported_snapshot, moment_of, require_equal, require_sequences
from tasks.domain.database_locale import locale_of, what_is_other
from tasks.domain.errors import CommandFailed, ToolMissing
from tasks.domain.fingerprint import change_counters, fingerprint, sequences
from tasks.domain.fingerprint import tables as tables_of
from tasks.domain.ports import Finished, Session, World
from tasks.domain.relation import quoted
from tasks.domain.room import Room

# Owners, grants and policies name roles. The one that made the server never stands in pg_shdepend.
_ROLES = """
    SELECT rolname AS name FROM pg_roles
    WHERE rolname !~ '^pg_' AND (oid = 10 OR oid IN (
        SELECT refobjid FROM pg_shdepend
        WHERE refclassid = 'pg_authid'::regclass
          AND dbid = (SELECT oid FROM pg_database WHERE datname = current_database())))
    ORDER BY 1
"""

# Those of libc and of ICU that a server finds at its making; one of ICU that was made by hand stands for all of ICU.
_COLLATIONS = """
    SELECT DISTINCT CASE WHEN c.collnamespace = 'pg_catalog'::regnamespace THEN c.collname ELSE 'und-x-icu' END AS name
    FROM pg_collation c
    WHERE c.collnamespace <> 'pg_catalog'::regnamespace AND c.collprovider = 'i'
       OR c.collnamespace = 'pg_catalog'::regnamespace AND EXISTS (
            SELECT FROM pg_depend WHERE refclassid = 'pg_collation'::regclass AND refobjid = c.oid)
    ORDER BY 1
"""
_PRESENT = {
    "extensions": "SELECT name FROM pg_available_extensions",
    "collations": "SELECT collname AS name FROM pg_collation",
}


class Dump(Backup):
    """Dumps the database by pg_dump in a snapshot, in which every table is hashed, and restores it to compare."""

    kind: Literal["dump"] = "dump"
    """Which kind of backup this is."""
    jobs: Annotated[int, Field(ge=1, le=64)] = 2
    """How many processes dump and restore."""

    gentle: bool = False
    """Whether to spare production: tables are hashed only once the dump has ended, which is made by one process that
    on golive's machine is behind all others for processor and disk."""

    def require_possible(self, world: World, dsn: str, place: Place | None) -> None:
        """Raise `ToolMissing` unless there is a fitting pg_dump, and the place has what production rests on."""
        with world.databases.session(dsn, read_only=True) as session:
            world.pg_tools.versions(session.server_version)
            needed = _rests_on(session)
        if place is not None:
            _require_there(world, needed, place)

    def room(self, world: World, dsn: str) -> Room:
        """Return the bytes that a backup, and the copies that are made of it, may need.

        A dump is taken to need no more than the database itself, and the copy twice that while indexes are built.
        """
        with world.databases.session(dsn, read_only=True) as session:
            size = database_size(session)
        return Room(size, copies=2 * size)

    def save(self, world: World, dsn: str, into: Path) -> Mapping[str, Any]:
        """Dump the database, and return what its tables held in the same snapshot.

        A restored copy must equal that exactly, although production went on writing meanwhile.
        """
        with (
            world.databases.session(dsn, statement_timeout=self.timeout, application="golive backup") as session,
            exported_snapshot(session) as snapshot,
            ThreadPoolExecutor(1) as beside,
        ):
            version, size, told = session.server_version, database_size(session), moment_of(session, snapshot)
            _hold_still(session)
            before = sequences(session)
            dumping = beside.submit(
                world.pg_tools.dump,
                dsn,
                into,
                server_version=version,
                jobs=1 if self.gentle else self.jobs,
                snapshot=snapshot,
                timeout=self.timeout,
                prefix=_behind_others(world) if self.gentle else (),
            )
            if self.gentle:
                _ended(dumping, session)
            tables = fingerprint(session)
            counters = change_counters(session)
            needs = {"roles": roles(session), "locale": locale_of(session), **_rests_on(session)}
            _ended(dumping, session)
            after = sequences(session)
        return {
            "database": world.databases.name_of(dsn),
            "database_bytes": size,
            "server_version": version,
            "tools": dict(world.pg_tools.versions(version)),
            "snapshot": told,
            "tables": tables,
            "counters": counters,
            "sequences": {name: (before.get(name, now), now) for name, now in after.items()},
            **needs,
        }

    def verify(self, world: World, archive: Archive) -> Mapping[str, Any]:
        """Return how many entries the archive's table of contents has."""
        listed = world.pg_tools.archive_list(archive.content, server_version=archive.server_version)
        return {"entries": sum(not line.startswith(";") for line in listed.splitlines())}

    def copy_into(self, world: World, archive: Archive, place: Place) -> str:
        """Restore the dump into an empty database, and return its DSN.

        Owners and grants come with it only where the place keeps them.

        In a server of golive's own the roles that the dump names are made, without the right to log in.
        """
        _require_there(world, {kind: archive.manifest.get(kind, ()) for kind in _PRESENT}, place)
        dsn = place.fresh(archive.manifest.get("locale"))
        if place.embedded:
            _make_roles(world, dsn, archive.manifest.get("roles", ()))
        self._restore(world, archive, dsn, keep_rights=place.keeps_rights)
        return dsn

    def prove(self, world: World, archive: Archive, copy: str, production: str) -> Mapping[str, Any]:  # noqa: ARG002
        """Return the fingerprint of the copy, which equals that of the snapshot that was dumped."""
        with world.databases.session(copy, read_only=True) as session:
            found = fingerprint(session, archive.tables)
            at = sequences(session)
            locale = what_is_other(archive.manifest.get("locale"), locale_of(session))
        require_equal(archive, found)
        require_sequences(archive, at)
        proof = {"tables": found, "sequences": len(archive.manifest.get("sequences", ()))}
        return proof | ({"locale": locale} if locale else {})

    def put_back(self, world: World, archive: Archive, dsn: str, place: Place) -> None:  # noqa: ARG002
        """Restore the dump with owners and grants, whose roles the live server has, and compare every table."""
        self._restore(world, archive, dsn, keep_rights=True)
        self.prove(world, archive, dsn, dsn)
        with world.databases.session(dsn) as session:
            session.execute("ANALYZE")

    def _restore(self, world: World, archive: Archive, dsn: str, *, keep_rights: bool = False) -> None:
        with world.databases.session(dsn) as session:
            version = session.server_version
        world.pg_tools.restore(
            archive.content,
            dsn,
            server_version=version,
            jobs=self.jobs,
            timeout=self.timeout,
            keep_rights=keep_rights,
        )


def _hold_still(session: Session) -> None:
    """Let nobody drop or alter a table until the snapshot ends: hashing and dump would no longer see the same."""
    if names := tables_of(session):
        session.execute(f"LOCK TABLE {', '.join(f'ONLY {name}' for name in names)} IN ACCESS SHARE MODE")


def _ended(dumping: Future[Finished], session: Session) -> None:
    """Wait for the dump; where that failed because the server went away, the session knows it and raises that."""
    try:
        dumping.result()
    except CommandFailed:
        session.value("SELECT 1")
        raise


def roles(session: Session) -> list[str]:
    """Return the roles that owners, grants and row-level policies of the database name."""
    return [row["name"] for row in session.query(_ROLES)]


def _rests_on(session: Session) -> dict[str, list[str]]:
    """Return the extensions and collations without which the database cannot be restored on another server."""
    extensions = session.query("SELECT extname AS name FROM pg_extension WHERE extname <> 'plpgsql' ORDER BY 1")
    collations = session.query(_COLLATIONS)
    return {"extensions": [row["name"] for row in extensions], "collations": [row["name"] for row in collations]}


def _require_there(world: World, needed: Mapping[str, Sequence[str]], place: Place) -> None:
    if not any(needed.values()):
        return
    with world.databases.session(place.dsn("postgres")) as session:
        for kind, names in needed.items():
            there = {row["name"] for row in session.query(_PRESENT[kind])} if names else set()
            if missing := sorted(set(names) - there):
                raise ToolMissing(
                    f"the scratch server lacks production's {kind} {', '.join(missing)}",
                    expected=f"all {kind} of production, to restore its backup",
                    do="set database.scratch.place to same_server or server, or install PostgreSQL's server package "
                    "with them",
                )


def _make_roles(world: World, dsn: str, names: Sequence[str]) -> None:
    with world.databases.session(dsn) as session:
        there = {row["name"] for row in session.query("SELECT rolname AS name FROM pg_roles")}
        for name in sorted(set(names) - there):
            session.execute(f"CREATE ROLE {quoted(name)} NOLOGIN")


def _behind_others(world: World) -> tuple[str, ...]:
    """Return the command that runs a program behind all others, as far as the host has one."""
    commands = (("nice", "-n", "19"), ("ionice", "-t", "-c", "3"))
    found = [(str(path), *rest) for program, *rest in commands if (path := world.host.which(program))]
    return tuple(word for command in found for word in command)
