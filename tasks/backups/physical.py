"""The backup as a copy of the whole server's files: the fastest for large databases, of one version and platform."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from tasks.backups import Backup, Place
from tasks.domain.archive import Archive, exported_snapshot, require_equal
from tasks.domain.backup_manifest import verify_files
from tasks.domain.errors import AccessDenied, OutsideError, UserError
from tasks.domain.fingerprint import change_counters, fingerprint
from tasks.domain.kind import Size
from tasks.domain.ports import Session, World
from tasks.domain.way_back import differences

STATISTICS_DELAY = 11
"""Seconds after which an idle session has surely reported the changes that it made (PGSTAT_IDLE_INTERVAL is 10 s)."""

_SIZE = """
    SELECT sum(pg_database_size(oid)) FROM pg_database
    WHERE has_database_privilege(oid, 'CONNECT') OR pg_has_role('pg_read_all_stats', 'USAGE')
"""
_UNLOGGED = """
    SELECT format('%I.%I', n.nspname, c.relname) AS name
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind = 'r' AND c.relpersistence = 'u' ORDER BY 1
"""
_MAY = "SELECT rolsuper OR rolreplication FROM pg_roles WHERE rolname = current_user"
_TABLESPACES = "SELECT spcname AS name FROM pg_tablespace WHERE spcname NOT IN ('pg_default', 'pg_global')"
_SEGMENT = "SELECT pg_size_bytes(current_setting('wal_segment_size'))"


class Physical(Backup):
    """Copies the server's files by pg_basebackup, verifies their checksums, and runs the copy to read every table."""

    kind: Literal["physical"] = "physical"
    """Which kind of backup this is."""
    rate: Size = 0
    """The most bytes per second that are read from production, between 32 kB and 1 GB; 0 for no limit."""

    def require_possible(self, world: World, dsn: str, place: Place | None) -> None:
        """Raise what stands in the way: the right to replicate, tablespaces, or no server program of the version."""
        with world.databases.session(dsn, read_only=True) as session:
            user, may = session.value("SELECT current_user"), session.value(_MAY)
            spaces = [row["name"] for row in session.query(_TABLESPACES)]
            version = session.server_version
        if not may:
            raise AccessDenied(
                f"{user} may not copy the server's files",
                expected="a role with REPLICATION",
                do=f'ALTER ROLE "{user}" REPLICATION, or use a backup of kind dump',
            )
        if spaces:
            raise OutsideError(
                f"the server has tablespaces of its own: {', '.join(spaces)}", do="use a backup of kind dump"
            )
        if place is not None and not place.embedded:
            raise UserError(
                "a physical backup is proven by running a server of golive's own",
                do="set database.scratch.place to embedded, or use a backup of kind dump",
            )
        world.pg_tools.require_replication(dsn)
        world.pg_servers.require(version // 10000)

    def room(self, world: World, dsn: str) -> int:
        """Return the bytes that a backup and its scratch copy may need: all databases twice, and once for a clone."""
        with world.databases.session(dsn, read_only=True) as session:
            return 3 * int(session.value(_SIZE))

    def save(self, world: World, dsn: str, into: Path) -> Mapping[str, Any]:
        """Copy the server's files, and return what production's tables held right after that."""
        with world.databases.session(dsn, statement_timeout=self.timeout, application="golive backup") as session:
            version = session.server_version
            began, before = _position(session), change_counters(session)
            world.pg_tools.base_backup(dsn, into, server_version=version, rate=self.rate, timeout=self.timeout)
            with exported_snapshot(session):
                tables = fingerprint(session)
                unlogged = [row["name"] for row in session.query(_UNLOGGED)]
            return {
                "database": world.databases.name_of(dsn),
                "server_version": version,
                "tools": dict(world.pg_tools.versions(version)),
                "tables": {name: one for name, one in tables.items() if name not in unlogged},
                "unlogged": unlogged,
                "counters": before,
                "counters_after": change_counters(session),
                "wal": {"began": began, "ended": _position(session), "segment": int(session.value(_SEGMENT))},
            }

    def verify(self, world: World, archive: Archive) -> Mapping[str, Any]:
        """Return what held the files against the checksums that the server sent: pg_verifybackup, or golive itself."""
        tool = world.pg_tools.verify_backup(archive.content, server_version=archive.server_version)
        # pg_verifybackup is not to be had, or crashes, in some builds; and none looks at the length of the log.
        verify_files(archive.content, segment=int(archive.manifest["wal"]["segment"]), checksums=not tool)
        return {"checksums_verified_by": tool or "golive"}

    def copy_into(self, world: World, archive: Archive, place: Place) -> str:  # noqa: ARG002
        """Run a server on a copy of the files, and return the DSN of the database in it."""
        return place.boot(archive.content, archive.server_version // 10000, archive.manifest["database"])

    def prove(self, world: World, archive: Archive, copy: str, production: str) -> Mapping[str, Any]:
        """Return the fingerprint of the copy, and which tables production's own counters saw written meanwhile.

        A table that was not written must be equal to production's.
        """
        verified = self.verify(world, archive)
        unlogged = set(archive.manifest["unlogged"])
        with world.databases.session(copy, read_only=True) as session:
            found = {name: one for name, one in fingerprint(session, archive.tables).items() if name not in unlogged}
        differ = differences(archive.tables, found)
        changed = self._seen_written(world, archive, set(differ), production)
        require_equal(
            replace(archive, manifest={**archive.manifest, "tables": _without(archive.tables, changed)}),
            _without(found, changed),
        )
        return {
            "tables": found,
            "equal": len(found.keys() - changed.keys()),
            "changed_since": changed,
            "unlogged_left_out": sorted(unlogged),
            "wal": archive.manifest["wal"],
            **verified,
        }

    def put_back(self, world: World, archive: Archive, dsn: str, place: Place) -> None:
        """Run a copy, dump the database from it, restore that with owners and grants, and compare it with the copy."""
        content = archive.directory.with_name(f".partial-{archive.directory.name}-back")
        try:
            copy = self.copy_into(world, archive, place)
            with world.databases.session(copy, read_only=True) as session:
                held, version = fingerprint(session), session.server_version
            with world.databases.session(dsn) as session:
                target = session.server_version
            world.host.remove_tree(content)
            limits = {"jobs": 2, "timeout": self.timeout}
            world.pg_tools.dump(copy, content, server_version=version, snapshot=None, **limits)
            world.pg_tools.restore(content, dsn, server_version=target, keep_rights=True, **limits)
            with world.databases.session(dsn) as session:
                require_equal(
                    replace(archive, manifest={**archive.manifest, "tables": held}), fingerprint(session, held)
                )
                session.execute("ANALYZE")
        finally:
            world.host.remove_tree(content)
            place.remove()

    def _seen_written(
        self, world: World, archive: Archive, differ: set[str], production: str
    ) -> dict[str, Mapping[str, int | None]]:
        """Return those tables whose counter moved since the backup began, with the counter before and after."""
        before, after = archive.manifest["counters"], archive.manifest["counters_after"]
        seen = {name for name in differ if before.get(name) != after.get(name)}
        for later in self._later_counters(world, production) if differ - seen else ():
            for name in {name for name in differ - seen if before.get(name) != later.get(name)}:
                after = {**after, name: later.get(name)}
                seen.add(name)
            if seen == differ:
                break
        return {name: {"before": before.get(name), "after": after.get(name)} for name in sorted(seen)}

    @staticmethod
    def _later_counters(world: World, production: str) -> Iterator[Mapping[str, int]]:
        with world.databases.session(production, read_only=True) as session:
            yield change_counters(session)
            for _ in range(STATISTICS_DELAY):
                world.clock.sleep(1.0)
                yield change_counters(session)


def _without(tables: Mapping[str, Any], names: Mapping[str, Any]) -> dict[str, Any]:
    return {name: one for name, one in tables.items() if name not in names}


def _position(session: Session) -> str:
    return str(session.value("SELECT pg_current_wal_insert_lsn()"))
