"""PostgreSQL's client programs, the ones that fit a server: dump, restore, schema."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from tasks.adapters.pg_clients import Client
from tasks.adapters.pg_files import FileTools
from tasks.adapters.pg_schema_text import normalised
from tasks.domain.errors import GoliveError, UserError
from tasks.domain.ports import Command, Finished
from tasks.domain.turn import FENCE

LIST_TIMEOUT = 300.0
SCHEMA_TIMEOUT = 300.0
"""Seconds for an archive's table of contents, and for a schema."""


class ClientTools(FileTools):
    """Runs PostgreSQL's client programs on a host."""

    def versions(self, server_version: int) -> Mapping[str, str]:
        """Return the tools that would be used for this server, with version and directory; raises `ToolMissing`."""
        client = self._clients.for_dump(server_version)
        return dict.fromkeys(("pg_dump", "pg_restore"), f"{client.version} ({client.directory})")

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
        """Dump one database, or some ``tables`` of it, into a new or empty directory, compressed, whole or not at all.

        ``timeout`` is in seconds; ``prefix`` is a command that runs the program, as ``nice -n 19`` does.
        Raises `CommandFailed`, `TimedOut`, `ToolMissing`.
        """
        if self._host.list(directory):
            raise UserError("the directory holds something already", where=str(directory), do="dump into a new one")
        client = self._clients.for_dump(server_version, dsn)
        argv = ["--format=directory", f"--jobs={jobs}", "--no-password", f"--file={directory}", _compression(client)]
        argv += [f"--table={table}" for table in tables]
        if snapshot:
            argv.append(f"--snapshot={snapshot}")
        try:
            return self._run(client, "pg_dump", argv, dsn, timeout, prefix)
        except GoliveError:
            self._host.remove_tree(directory)
            raise

    def archive_list(self, directory: Path, *, server_version: int) -> str:  # noqa: ARG002  any newer one reads it
        """Return ``pg_restore --list`` of an archive; raises `CommandFailed` if it cannot be read."""
        argv = (str(self._clients.newest().directory / "pg_restore"), "--list", str(directory))
        return self._host.run(Command(argv, timeout=LIST_TIMEOUT)).stdout

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
        """Restore an archive into an existing database in ``timeout`` seconds: an empty one, unless ``data_only``.

        ``server_version`` is that of the server restored into. Owners and grants are left out unless ``keep_rights``;
        the roles that they, or row-level policies, name must exist there.
        Raises `CommandFailed` at the first error; what came before it stays in the database.
        """
        client = self._restorer(directory, dsn, server_version)
        parts = ["--data-only", "--disable-triggers"] if data_only else []
        parts += [] if keep_rights else ["--no-owner", "--no-acl"]
        argv = ["--exit-on-error", *parts, "--no-password", f"--jobs={jobs}", str(directory)]
        return self._run(client, "pg_restore", argv, dsn, timeout)

    def schema(self, dsn: str, *, server_version: int) -> str:
        """Return the schema as SQL, without owners, grants and versions, equal for equal schemas.

        pg_dump's wording changes with its version: to compare two servers give the higher ``server_version`` to both.
        """
        client = self._clients.for_server(server_version, dsn)
        argv = ["--schema-only", "--no-owner", "--no-acl", "--no-password", "--encoding=UTF8"]
        argv += [f"--exclude-schema={FENCE}", f"--exclude-table=*.{FENCE}"]
        return normalised(self._run(client, "pg_dump", argv, dsn, SCHEMA_TIMEOUT).stdout)

    def _restorer(self, directory: Path, dsn: str, server_version: int) -> Client:
        listed = self.archive_list(directory, server_version=server_version)
        written_by = re.search(r"Dumped by pg_dump version: (\d+)", listed)
        least = int(written_by[1]) if written_by else 0
        zstd = any(name.endswith(".zst") for name in self._host.list(directory))
        return self._clients.for_restore(least, server_version, dsn, zstd=zstd, where=directory)


def _compression(client: Client) -> str:
    """Return the option for light compression: it costs a tenth of the default's time, and carries checksums."""
    if client.zstd:
        return "--compress=zstd:1"
    return "--compress=gzip:1" if client.major >= 16 else "--compress=1"
