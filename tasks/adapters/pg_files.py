"""PostgreSQL's client programs that copy a whole server's files, verify such copies, and look into their indexes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from psycopg import pq
from psycopg.conninfo import make_conninfo

from tasks.adapters import dsn as dsns
from tasks.adapters.pg_clients import Client, Clients
from tasks.adapters.pg_connection import connection
from tasks.domain.errors import AccessDenied, BackupNotProven, CommandFailed, GoliveError
from tasks.domain.ports import Command, Finished, Host

VERIFY_TIMEOUT = 3600.0
"""Seconds for the checksums of a base backup."""

_FOUND_DAMAGE = 2


# Its child, which receives the log, goes on for ever unless pg_basebackup comes to its own end. Where golive was killed
# it would not: the first word into a pipe that nobody reads ends a program at once, unless it ignores that signal.
_ENDS_ITS_CHILD = ("/bin/sh", "-c", 'trap "" PIPE; exec "$@"', "sh")


class FileTools:
    """Runs pg_basebackup, pg_combinebackup and pg_amcheck on a host."""

    def __init__(self, host: Host, directories: Sequence[Path] = (), *, only: bool = False) -> None:
        """Choose among ``directories`` and, unless ``only``, all that are installed."""
        self._host, self._clients = host, Clients(host, directories, only=only)

    def require_replication(self, dsn: str) -> None:
        """Raise `AccessDenied` unless the server lets this role in for replication, as pg_basebackup needs it."""
        given = dsns.options(dsn) | {"replication": "true", "connect_timeout": "10"}
        conn = pq.PGconn.connect(make_conninfo("", **given).encode())
        try:
            if conn.status != pq.ConnStatus.OK:
                said = " ".join(conn.error_message.decode(errors="replace").split())
                raise AccessDenied(
                    f"no connection for replication: {said}",
                    where=dsns.redacted(dsn),
                    do="give the role REPLICATION, let it in by a line 'host replication …' of pg_hba.conf, and see "
                    "that max_wal_senders is not used up; or use a backup of kind dump",
                )
        finally:
            conn.finish()

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
        """Copy all files of a server into a new directory, whole or not at all, with the log that it needs.

        They may not be on the disk for good yet: the caller reads them all, and syncs each on that way.

        ``rate`` is the most bytes per second, 0 for no limit; ``since`` is the manifest of an earlier copy, of which
        only the blocks that changed later are copied. Raises `CommandFailed`, `TimedOut`, `ToolMissing`.
        """
        # CRC-32C is what a processor makes at no cost; against ill will there is the SHA-256 of golive's own manifest.
        argv = ["--format=plain", "--wal-method=stream", "--checkpoint=fast", "--manifest-checksums=CRC32C"]
        argv += ["--no-password", "--no-sync", f"--pgdata={directory}"]
        if rate:
            argv.append(f"--max-rate={max(32, rate // 1024)}k")
        if since:
            argv.append(f"--incremental={since}")
        client = self._clients.for_server(server_version, dsn, "pg_basebackup")
        try:
            return self._run(client, "pg_basebackup", argv, dsn, timeout, _ENDS_ITS_CHILD)
        except GoliveError:
            self._host.remove_tree(directory)
            raise

    def combine(self, chain: Sequence[Path], directory: Path, *, server_version: int, timeout: float) -> str:
        """Make one base backup of a whole one and those that hold what changed since, each after its parent.

        Returns what made it. Raises `CommandFailed` if they do not belong together, `ToolMissing`, `TimedOut`.
        """
        major = server_version // 10000
        client = next(iter(self._clients.having("pg_combinebackup", major)), None)
        if client is None:
            raise self._clients.none_fits("pg_combinebackup", f"just version {major}")
        program = str(client.directory / "pg_combinebackup")
        # Where the file system can share blocks between files, that takes no time and no room; not every kernel can.
        for way in (["--copy-file-range"], []):
            # Nobody reads a manifest of it: what it is made of was verified, and each table in it is compared.
            argv = (program, *way, "--no-manifest", "--no-sync", f"--output={directory}", *map(str, chain))
            self._host.remove_tree(directory)
            try:
                self._host.run(Command(argv, timeout=timeout))
            except CommandFailed:
                if not way:
                    raise
            else:
                break
        return f"pg_combinebackup {client.version}"

    def check_indexes(self, dsn: str, *, server_version: int, timeout: float) -> str:
        """Return the pg_amcheck that found every table and index of a database, which has amcheck, to be whole.

        Raises `BackupNotProven` with what it found, `CommandFailed` if it could not look, `ToolMissing`.
        """
        client = self._clients.for_server(server_version, dsn, "pg_amcheck")
        argv = ["--heapallindexed", "--no-password", "--jobs=2"]
        ended = self._run(client, "pg_amcheck", argv, dsn, timeout, ok_exit=(0, _FOUND_DAMAGE))
        if ended.exit_code == _FOUND_DAMAGE:
            found = " ".join(ended.stdout.split())
            raise BackupNotProven(
                f"pg_amcheck found damage in the copy: {found[:500]}",
                expected="every table and index to be whole",
                do="run pg_amcheck against production: it may be damaged likewise; then take a new backup",
            )
        return f"pg_amcheck {client.version}"

    def _run(
        self,
        client: Client,
        tool: str,
        argv: Sequence[str],
        dsn: str,
        timeout: float,
        prefix: Sequence[str] = (),
        ok_exit: tuple[int, ...] = (0,),
    ) -> Finished:
        with connection(self._host, dsn) as reach:
            # pg_amcheck's own option of that name is a pattern.
            database = reach.conninfo if tool == "pg_amcheck" else f"--dbname={reach.conninfo}"
            command = (*prefix, str(client.directory / tool), *argv, database)
            return self._host.run(Command(command, env=reach.env, timeout=timeout, ok_exit=ok_exit))
