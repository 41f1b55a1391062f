"""The backup as a copy of the whole server's files: the fastest for large databases, of one version and platform."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from tasks.backups import Place
from tasks.backups._whole import WholeServer
from tasks.domain import archive as archives
from tasks.domain import backup_chain, whole_server
from tasks.domain.archive import Archive
from tasks.domain.backup_manifest import verify_files
from tasks.domain.errors import AccessDenied, CommandFailed
from tasks.domain.kind import Duration, Size
from tasks.domain.ports import Session, World
from tasks.domain.room import Room

_MAY = "SELECT rolsuper OR rolreplication FROM pg_roles WHERE rolname = current_user"
_SUMMARIZES = "SELECT coalesce(current_setting('summarize_wal', true), 'unknown to this version')"
_MANIFEST = "backup_manifest"


class Physical(WholeServer):
    """Copies the server's files by pg_basebackup, verifies their checksums, and runs the copy to read every table."""

    kind: Literal["physical"] = "physical"
    """Which kind of backup this is."""
    rate: Size = 0
    """The most bytes per second that are read from production, between 32 kB and 1 GB; 0 for no limit."""
    full_every: Annotated[Duration, Field(examples=["7d"])] = 0.0
    """After how long a whole copy is taken again; until then only what changed since the last proven backup is.

    That needs PostgreSQL 17 and ``summarize_wal = on``; without, or if the last backup is unfit, the copy is whole and
    its manifest says why. 0: every copy is whole.
    """

    def require_possible(self, world: World, dsn: str, place: Place | None) -> None:
        """Raise what stands in the way: the right to replicate, tablespaces, or no server program of the version."""
        with world.databases.session(dsn, read_only=True) as session:
            user, may = session.value("SELECT current_user"), session.value(_MAY)
            if not may:
                raise AccessDenied(
                    f"{user} may not copy the server's files",
                    expected="a role with REPLICATION",
                    do=f'ALTER ROLE "{user}" REPLICATION, or use a backup of kind dump',
                )
            whole_server.require_copyable(
                world, session, kind=self.kind, embedded=place.embedded if place is not None else None
            )
        world.pg_tools.require_replication(dsn)

    def room(self, world: World, dsn: str) -> Room:
        """Return the bytes that a backup, and the copies that are made of it, may need: of these one is a clone.

        What a copy is put together from a chain in, beside the backup, may be there once more for that time.
        """
        with world.databases.session(dsn, read_only=True) as session:
            size = whole_server.size_of_all(session)
        return Room((2 if self.full_every else 1) * size, copies=2 * size)

    def needs(self, archive: Archive) -> tuple[str, ...]:
        """Return the names of the backups that this one builds upon, the whole one first."""
        return tuple(link["id"] for link in backup_chain.links(archive))

    def take(
        self, world: World, dsn: str, directory: Path, about: Mapping[str, Any], proven: Sequence[Path] = ()
    ) -> Archive:
        """Put a backup into ``directory``, whole or not at all, which may build upon the newest of the ``proven``."""
        return archives.take(world, directory, self.kind, lambda into: self._save(world, dsn, into, proven), about)

    def save(self, world: World, dsn: str, into: Path) -> Mapping[str, Any]:
        """Copy the server's files, all of them, and return what production's tables held meanwhile."""
        return self._save(world, dsn, into, ())

    def verify(self, world: World, archive: Archive) -> Mapping[str, Any]:  # noqa: ARG002
        """Return how many files are as the checksums say that the server sent.

        golive holds them against those itself: pg_verifybackup is not to be had, or crashes, in some builds, and does
        not look at the length of the log. The backups that this one builds upon are held against their manifests,
        which it names by their hash.
        """
        backup_chain.parents(archive)
        held = verify_files(archive.content, segment=int(archive.manifest["wal"]["segment"]))
        return {"files_verified": held, "builds_upon": list(self.needs(archive))}

    def copy_into(self, world: World, archive: Archive, place: Place) -> str:
        """Run a server on a copy of the files, put together from the chain, and return the DSN of the database."""
        chain = [one.content for one in backup_chain.parents(archive)]
        major, database = archive.server_version // 10000, archive.manifest["database"]
        if not chain:
            copy = place.boot(archive.content, major, database)
        else:
            whole = archive.directory.with_name(f".partial-{archive.directory.name}-whole")
            try:
                world.pg_tools.combine(
                    [*chain, archive.content], whole, server_version=archive.server_version, timeout=self.timeout
                )
                copy = place.boot(whole, major, database, move=True)
            finally:
                world.host.remove_tree(whole)
        whole_server.refill_unlogged(world, archive, copy, self.timeout)
        return copy

    def _save(self, world: World, dsn: str, into: Path, proven: Sequence[Path]) -> Mapping[str, Any]:
        return whole_server.save(
            world,
            dsn,
            into,
            self.timeout,
            lambda session: self._copied(world, session, dsn, into, proven),
            spare=self.rate > 0,
        )

    def _copied(
        self, world: World, session: Session, dsn: str, into: Path, proven: Sequence[Path]
    ) -> Mapping[str, Any]:
        """Copy what changed since the newest proven backup, or else all, and return the chain or why there is none."""
        limits = {"server_version": session.server_version, "rate": self.rate, "timeout": self.timeout}
        parent, why = self._parent(world, session, into.parent.parent, proven)
        if parent is not None:
            try:
                world.pg_tools.base_backup(dsn, into, since=parent.content / _MANIFEST, **limits)
            except CommandFailed as error:  # as where the server no longer has the summaries that reach back so far
                why = error.seen
            else:
                return {"chain": backup_chain.linked_to(parent)}
        world.pg_tools.base_backup(dsn, into, **limits)
        return {"chain": [], "whole_because": why}

    def _parent(
        self, world: World, session: Session, directory: Path, proven: Sequence[Path]
    ) -> tuple[Archive | None, str]:
        if not self.full_every:
            return None, "full_every is 0"
        if proven and proven[0].parent != directory:
            return None, f"the last backup lies in {proven[0].parent}"
        if (summarizes := session.value(_SUMMARIZES)) != "on":
            return None, f"summarize_wal is {summarizes}"
        return backup_chain.parent_for(
            proven,
            whole_server.origin(session),
            kind=self.kind,
            full_every=self.full_every,
            now=world.clock.now(),
        )
