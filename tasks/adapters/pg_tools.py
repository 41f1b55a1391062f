"""PostgreSQL's client programs, the ones that fit a server, with the password in a file and never in an argv.

Which version is used matters both ways. A pg_dump must not be older than the server. A pg_restore must not be older
than the pg_dump that wrote the archive, and one of 17 or later sends ``SET transaction_timeout``, which a server
before 17 refuses: an archive written by pg_dump 17 or later can only be restored into a server of 17 or later.
"""

from __future__ import annotations

import os
import re
import secrets
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from psycopg import pq
from psycopg.conninfo import make_conninfo

from tasks.adapters import dsn as dsns
from tasks.adapters.pg_binaries import package_directories, version_in, wheel_directories
from tasks.domain.errors import AccessDenied, CommandFailed, GoliveError, ToolMissing, UserError
from tasks.domain.ports import Command, Finished, Host
from tasks.domain.turn import FENCE

PROBE_TIMEOUT = 20.0
LIST_TIMEOUT = 300.0
SCHEMA_TIMEOUT = 300.0
VERIFY_TIMEOUT = 3600.0
"""Seconds for a question to a program, an archive's table of contents, a schema, the checksums of a base backup."""

_SENDS_TRANSACTION_TIMEOUT = 17
_FILES = ("PGPASSFILE", "PGSERVICEFILE", "PGSYSCONFDIR")


@dataclass(frozen=True)
class Client:
    """An installation of the client programs, and what its build can do."""

    directory: Path
    major: int
    version: str
    zstd: bool
    ssl: bool


@dataclass(frozen=True)
class _Connection:
    """How a program is told where to connect: one argument without a secret, and an environment without one."""

    argument: str
    env: Mapping[str, str] = field(repr=False)


class ClientTools:
    """Runs pg_dump and pg_restore on a host."""

    def __init__(self, host: Host, directories: Sequence[Path] = ()) -> None:
        self._host, self._directories = host, directories

    def versions(self, server_version: int) -> Mapping[str, str]:
        """Return the tools that would be used for this server, with version and directory; raises `ToolMissing`."""
        client = self._client(server_version)
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
    ) -> Finished:
        """Dump one database into a new or empty directory, compressed, whole or not at all.

        ``timeout`` is in seconds; ``prefix`` is a command that runs the program, as ``nice -n 19`` does.
        Raises `CommandFailed`, `TimedOut`, `ToolMissing`.
        """
        if self._host.list(directory):
            raise UserError("the directory holds something already", where=str(directory), do="dump into a new one")
        client = self._client(server_version, dsn)
        argv = ["--format=directory", f"--jobs={jobs}", "--no-password", f"--file={directory}", _compression(client)]
        if snapshot:
            argv.append(f"--snapshot={snapshot}")
        try:
            return self._run(client, "pg_dump", argv, dsn, timeout, prefix)
        except GoliveError:
            self._host.remove_tree(directory)
            raise

    def archive_list(self, directory: Path, *, server_version: int) -> str:  # noqa: ARG002  any newer one reads it
        """Return ``pg_restore --list`` of an archive; raises `CommandFailed` if it cannot be read."""
        newest = max(self._clients, key=lambda client: client.major, default=None)
        if newest is None:
            raise _no_tool("any version")
        argv = (str(newest.directory / "pg_restore"), "--list", str(directory))
        return self._host.run(Command(argv, timeout=LIST_TIMEOUT)).stdout

    def restore(
        self, directory: Path, dsn: str, *, server_version: int, jobs: int, timeout: float, keep_rights: bool = False
    ) -> Finished:
        """Restore an archive into an existing, empty database in ``timeout`` seconds.

        ``server_version`` is that of the server restored into. Owners and grants are left out unless ``keep_rights``;
        the roles that they, or row-level policies, name must exist there.
        Raises `CommandFailed` at the first error; what came before it stays in the database.
        """
        client = self._restorer(directory, dsn, server_version)
        rights = () if keep_rights else ("--no-owner", "--no-acl")
        argv = ["--exit-on-error", *rights, "--no-password", f"--jobs={jobs}", str(directory)]
        return self._run(client, "pg_restore", argv, dsn, timeout)

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

    def base_backup(self, dsn: str, directory: Path, *, server_version: int, rate: int, timeout: float) -> Finished:
        """Copy all files of a server into a new directory, whole or not at all, with the log that it needs.

        ``rate`` is the most bytes per second, 0 for no limit. Raises `CommandFailed`, `TimedOut`, `ToolMissing`.
        """
        argv = ["--format=plain", "--wal-method=stream", "--checkpoint=fast", "--manifest-checksums=SHA256"]
        argv += ["--no-password", f"--pgdata={directory}"]
        if rate:
            argv.append(f"--max-rate={max(32, rate // 1024)}k")
        try:
            return self._run(self._client(server_version, dsn), "pg_basebackup", argv, dsn, timeout)
        except GoliveError:
            self._host.remove_tree(directory)
            raise

    def verify_backup(self, directory: Path, *, server_version: int) -> str:
        """Return the pg_verifybackup that found the files of a base backup whole, or nothing where none works.

        Raises `CommandFailed` with what it found amiss.
        """
        # One that crashes has verified nothing: the next is asked.
        ended = (0, *range(-64, 0))
        for client in self._clients:
            program = client.directory / "pg_verifybackup"
            if client.major == server_version // 10000 and self._host.exists(program):
                command = Command((str(program), str(directory)), timeout=VERIFY_TIMEOUT, ok_exit=ended)
                if self._host.run(command).exit_code == 0:
                    return f"pg_verifybackup {client.version}"
        return ""

    def schema(self, dsn: str, *, server_version: int) -> str:
        """Return the schema as SQL, without owners, grants and versions, equal for equal schemas.

        pg_dump's wording changes with its version: to compare two servers give the higher ``server_version`` to both.
        """
        argv = [
            "--schema-only",
            "--no-owner",
            "--no-acl",
            "--no-password",
            "--encoding=UTF8",
            f"--exclude-table=*.{FENCE}",
        ]
        return _normalised(self._run(self._client(server_version, dsn), "pg_dump", argv, dsn, SCHEMA_TIMEOUT).stdout)

    @cached_property
    def _clients(self) -> Sequence[Client]:
        """All installations, each asked once; of equal majors the system's come before the wheel's.

        The system's are built with what the wheel's lack: TLS, zstd.
        """
        packaged = list(package_directories(self._host.list))
        found = [*self._directories, *packaged]
        on_path = self._host.which("pg_dump")
        # Beside Debian's packages the pg_dump of the PATH is a wrapper that picks a version by its own rules.
        if on_path and not packaged:
            found.append(on_path.parent)
        found += wheel_directories()
        clients = [client for directory in dict.fromkeys(found) if (client := self._ask(directory))]
        return sorted(clients, key=lambda client: client.major)

    def _ask(self, directory: Path) -> Client | None:
        pg_dump = str(directory / "pg_dump")
        if not (self._host.exists(directory / "pg_dump") and self._host.exists(directory / "pg_restore")):
            return None
        try:
            major, version = version_in(self._host.run(Command((pg_dump, "--version"), timeout=PROBE_TIMEOUT)).stdout)
        except (CommandFailed, ToolMissing):  # built for another machine, or its libraries are gone: of no use here
            return None
        if not major:
            return None

        # What a build lacks it says before it tries to connect, and only in words.
        def complains(about: str, *argv: str) -> bool:
            command = Command((pg_dump, *argv), env={"LC_ALL": "C"}, timeout=PROBE_TIMEOUT, ok_exit=(0, 1))
            return about in self._host.run(command).stderr

        nowhere = "host=/nonexistent"
        return Client(
            directory,
            major,
            version,
            zstd=not complains("compress", "--format=directory", "--compress=zstd:1", "--file=/nonexistent/x", nowhere),
            ssl=not complains("not compiled in", f"--dbname={nowhere} sslmode=require"),
        )

    def _client(self, server_version: int, dsn: str = "") -> Client:
        """Return the oldest client that is not older than the server, and that can encrypt if the DSN asks for it."""
        major = server_version // 10000
        needs_ssl = _needs_ssl(dsn)
        for client in self._clients:
            if client.major >= major and (client.ssl or not needs_ssl):
                return client
        raise _no_tool(f"version {major} or newer{', built with TLS' if needs_ssl else ''}", self._clients)

    def _restorer(self, directory: Path, dsn: str, server_version: int) -> Client:
        """Return the client nearest to the server that can read the archive and whose words the server understands."""
        target = server_version // 10000
        written_by = re.search(
            r"Dumped by pg_dump version: (\d+)", self.archive_list(directory, server_version=server_version)
        )
        least = int(written_by[1]) if written_by else 0
        zstd = any(name.endswith(".zst") for name in self._host.list(directory))
        fit = [
            client
            for client in self._clients
            if client.major >= least
            and (target >= _SENDS_TRANSACTION_TIMEOUT or client.major < _SENDS_TRANSACTION_TIMEOUT)
            and (client.zstd or not zstd)
            and (client.ssl or not _needs_ssl(dsn))
        ]
        if target < _SENDS_TRANSACTION_TIMEOUT <= least:
            raise ToolMissing(
                f"the archive was written by pg_dump {least} and PostgreSQL {target} does not understand its restore",
                where=str(directory),
                do=f"restore into a server of {_SENDS_TRANSACTION_TIMEOUT} or newer, or dump with pg_dump 16 or older",
            )
        if not fit:
            raise _no_tool(f"version {least} or newer{', built with zstd' if zstd else ''}", self._clients)
        return min(fit, key=lambda client: abs(client.major - target))

    def _run(
        self, client: Client, tool: str, argv: Sequence[str], dsn: str, timeout: float, prefix: Sequence[str] = ()
    ) -> Finished:
        with self._connection(dsn) as connection:
            command = (*prefix, str(client.directory / tool), connection.argument, *argv)
            return self._host.run(Command(command, env=connection.env, timeout=timeout))

    @contextmanager
    def _connection(self, dsn: str) -> Iterator[_Connection]:
        given = dsns.options(dsn)
        password = given.pop("password", "")
        env = {variable: given[key] for key, variable in dsns.ENVIRONMENT.items() if key in given and key != "dbname"}
        env.setdefault("PGCONNECT_TIMEOUT", "10")
        env.setdefault("PGAPPNAME", "golive")
        rest = {key: value for key, value in given.items() if key not in dsns.ENVIRONMENT and key not in dsns.SECRETS}
        argument = "--dbname=" + make_conninfo("", **{**rest, "dbname": dsns.name_of(dsn)})
        if not password:
            # Where a person keeps passwords for libpq; psycopg finds them there too.
            yield _Connection(argument, {name: os.environ[name] for name in _FILES if name in os.environ} | env)
            return
        if "\n" in password:
            raise UserError("the password holds a line break, which PostgreSQL's password file cannot", do="change it")
        own = Path(tempfile.gettempdir()) / f"golive-{secrets.token_hex(16)}"
        escaped = password.replace("\\", "\\\\").replace(":", "\\:")
        try:
            self._host.write(own / "pgpass", f"*:*:*:*:{escaped}\n", 0o600)
            yield _Connection(argument, env | {"PGPASSFILE": str(own / "pgpass")})
        finally:
            self._host.remove_tree(own)


def _needs_ssl(dsn: str) -> bool:
    return dsns.options(dsn).get("sslmode") in {"require", "verify-ca", "verify-full"}


def _compression(client: Client) -> str:
    """Return the option for light compression: it costs a tenth of the default's time, and carries checksums."""
    if client.zstd:
        return "--compress=zstd:1"
    return "--compress=gzip:1" if client.major >= 16 else "--compress=1"


def _no_tool(needed: str, clients: Sequence[Client] = ()) -> ToolMissing:
    there = ", ".join(f"{client.version} in {client.directory}" for client in clients) or "none"
    return ToolMissing(
        f"no pg_dump and pg_restore that fit; there are: {there}",
        expected=needed,
        do="install PostgreSQL's client programs of that version",
    )


_VERSIONS = re.compile(r"-- (Dumped (from|by)|Started on|Completed on) .*")
# Sent by every pg_dump of 17 and later, whatever the server.
_SETTING = "SET transaction_timeout = 0;"
# PostgreSQL made the schema itself; that its owner or grants were changed, which are left out here, alone is told.
_PUBLIC = (
    "--\n-- Name: public; Type: SCHEMA; Schema: -; Owner: -\n--\n\n-- *not* creating schema, since initdb creates it\n"
)


def _normalised(schema: str) -> str:
    lines = schema.splitlines()
    key = next((line.removeprefix("\\restrict ") for line in lines if line.startswith("\\restrict ")), None)
    dropped = {_SETTING} | ({f"\\restrict {key}", f"\\unrestrict {key}"} if key else set())
    kept = "\n".join(line for line in lines if line not in dropped and not _VERSIONS.fullmatch(line))
    return re.sub(r"\n{3,}", "\n\n", kept.replace(_PUBLIC, "")).strip() + "\n"
