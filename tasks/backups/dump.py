"""The backup as a dump of one database: small, portable between versions, and exact while production goes on."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from tasks.backups import Backup, Place
from tasks.domain.archive import Archive, database_size, exported_snapshot, require_equal
from tasks.domain.fingerprint import change_counters, fingerprint
from tasks.domain.ports import World


class Dump(Backup):
    """Dumps the database by pg_dump in a snapshot, in which every table is hashed, and restores it to compare."""

    kind: Literal["dump"] = "dump"
    """Which kind of backup this is."""
    jobs: Annotated[int, Field(ge=1, le=64)] = 2
    """How many processes dump and restore."""

    def room(self, world: World, dsn: str) -> int:
        """Return the bytes that a backup and its scratch copy may need.

        A dump is taken to need no more than the database itself, and the copy twice that while indexes are built.
        """
        with world.databases.session(dsn, read_only=True) as session:
            return 3 * database_size(session)

    def save(self, world: World, dsn: str, into: Path) -> Mapping[str, Any]:
        """Dump the database, and return what its tables held in the same snapshot.

        A restored copy must equal that exactly, although production went on writing meanwhile.
        """
        with (
            world.databases.session(dsn, statement_timeout=self.timeout, application="golive backup") as session,
            exported_snapshot(session) as snapshot,
            ThreadPoolExecutor(1) as beside,
        ):
            version = session.server_version
            # A role may be limited to short idle transactions, but this one waits for pg_dump.
            session.execute("SET idle_in_transaction_session_timeout = 0")
            dumping = beside.submit(
                world.pg_tools.dump,
                dsn,
                into,
                server_version=version,
                jobs=self.jobs,
                snapshot=snapshot,
                timeout=self.timeout,
            )
            tables = fingerprint(session)
            counters = change_counters(session)
            dumping.result()
        return {
            "database": world.databases.name_of(dsn),
            "server_version": version,
            "tools": dict(world.pg_tools.versions(version)),
            "tables": tables,
            "counters": counters,
        }

    def verify(self, world: World, archive: Archive) -> Mapping[str, Any]:
        """Return how many entries the archive's table of contents has."""
        listed = world.pg_tools.archive_list(archive.content, server_version=archive.server_version)
        return {"entries": sum(not line.startswith(";") for line in listed.splitlines())}

    def copy_into(self, world: World, archive: Archive, place: Place) -> str:
        """Restore the dump into an empty database, without owners and grants, and return its DSN."""
        dsn = place.fresh()
        self._restore(world, archive, dsn)
        return dsn

    def prove(self, world: World, archive: Archive, copy: str, production: str) -> Mapping[str, Any]:  # noqa: ARG002
        """Return the fingerprint of the copy, which equals that of the snapshot that was dumped."""
        with world.databases.session(copy, read_only=True) as session:
            found = fingerprint(session)
        require_equal(archive, found)
        return {"tables": found}

    def put_back(self, world: World, archive: Archive, dsn: str, place: Place) -> None:  # noqa: ARG002
        """Restore the dump with owners and grants, whose roles the live server has, and compare every table."""
        self._restore(world, archive, dsn, keep_rights=True)
        self.prove(world, archive, dsn, dsn)

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
        with world.databases.session(dsn) as session:
            # A restored database has no statistics, and checks that explain a query need them.
            session.execute("ANALYZE")
