"""PostgreSQL's own programs, for clients and servers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from tasks.domain.ports._machine import Finished


class PgTools(Protocol):
    """PostgreSQL's client programs, the ones that fit a server. No secret is ever in an argv."""

    def versions(self, server_version: int) -> Mapping[str, str]:
        """Return the tools that would be used for this server and what version they say they are.

        Raises `ToolMissing` if none fits (pg_dump must not be older than the server).
        """
        ...

    def dump(
        self,
        dsn: str,
        directory: Path,
        *,
        server_version: int,
        jobs: int,
        snapshot: str | None,
        timeout: float,
        prefix: Sequence[str] = (),
        tables: Sequence[str] = (),
    ) -> Finished:
        """Dump one database in the directory format, compressed, inside an exported snapshot if one is given.

        ``tables``, quoted and with their schema, are all that is dumped if there are any. ``prefix`` is a command that
        runs the program, as ``nice -n 19`` does.
        """
        ...

    def archive_list(self, directory: Path, *, server_version: int) -> str:
        """Return ``pg_restore --list`` of an archive; raises `CommandFailed` if it cannot be read."""
        ...

    def restore(
        self,
        directory: Path,
        dsn: str,
        *,
        server_version: int,
        jobs: int,
        timeout: float,
        keep_rights: bool = False,
        data_only: bool = False,
    ) -> Finished:
        """Restore an archive into an existing, empty database; raises `CommandFailed` at the first error.

        ``keep_rights`` restores owners and grants too, whose roles must then exist on that server. ``data_only`` fills
        tables that are there.
        """
        ...

    def require_replication(self, dsn: str) -> None:
        """Raise `AccessDenied` unless the server lets this role in for replication, as pg_basebackup needs it."""
        ...

    def base_backup(
        self,
        dsn: str,
        directory: Path,
        *,
        server_version: int,
        rate: int,
        timeout: float,
        since: Path | None = None,
    ) -> Finished:
        """Copy all files of a server into a new directory, with the log that makes them consistent.

        ``rate`` is the most bytes per second, 0 for no limit; ``since`` is the manifest of an earlier copy, of which
        only the blocks that changed later are copied.
        """
        ...

    def combine(self, chain: Sequence[Path], directory: Path, *, server_version: int, timeout: float) -> str:
        """Make one base backup of a whole one and those that hold what changed since, and return what made it.

        Raises `CommandFailed` if they do not belong together.
        """
        ...

    def check_indexes(self, dsn: str, *, server_version: int, timeout: float) -> str:
        """Return the tool that found every table and index of a database, which has amcheck, to be whole.

        Raises `BackupNotProven` with what it found, `CommandFailed` if it could not look.
        """
        ...

    def schema(self, dsn: str, *, server_version: int) -> str:
        """Return the schema as SQL in a form that is equal for equal schemas."""
        ...


class RunningServer(Protocol):
    """A PostgreSQL server that golive started."""

    def dsn(self, database: str = "postgres") -> str:
        """Return the DSN of one of its databases."""
        ...


class PgServers(Protocol):
    """Starts throwaway PostgreSQL servers from the embedded binaries."""

    def throwaway(self, directory: Path, *, major: int | None = None) -> AbstractContextManager[RunningServer]:
        """Run a server in a new data directory, with durability off, until the block ends; then remove it."""
        ...

    def keep(self, directory: Path, *, major: int | None = None) -> RunningServer:
        """Run a server as `throwaway` does, or find it running, and let it run until `remove`.

        Until `log_fully` it logs as little as may be, to be filled fast.
        """
        ...

    def log_fully(self, directory: Path) -> None:
        """Let a kept server log what it does as production does; it restarts for that once."""
        ...

    def require(self, major: int) -> None:
        """Raise `ToolMissing` unless there are programs of just that major version."""
        ...

    def boot(self, directory: Path, data: Path, *, major: int, move: bool = False) -> RunningServer:
        """Run a server on a copy of a base backup, replacing what is there, and let it run until `remove`.

        With ``move`` the base backup itself is used up, which takes no time on the same file system. The server has
        its own settings, among them no archiving and no replication, and its own superuser.
        """
        ...

    def check_pages(self, directory: Path, *, timeout: float) -> str:
        """Return the tool that found every page of a kept server as its checksum says; the server restarts for it.

        Raises `BackupNotProven` with what it found. The server must have been made with checksums of pages.
        """
        ...

    def remove(self, directory: Path) -> None:
        """End a kept server and remove its directory; nothing there is fine."""
        ...
