"""Which of the installed PostgreSQL client programs fit a server.

Which version is used matters both ways. A pg_dump must not be older than the server. A pg_restore must not be older
than the pg_dump that wrote the archive, and one of 17 or later sends ``SET transaction_timeout``, which a server
before 17 refuses: an archive written by pg_dump 17 or later can only be restored into a server of 17 or later.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from tasks.adapters import dsn as dsns
from tasks.adapters.pg_binaries import package_directories, version_in, wheel_directories
from tasks.domain.errors import CommandFailed, ToolMissing
from tasks.domain.ports import Command, Host

PROBE_TIMEOUT = 20.0
"""Seconds for a question to a program."""

SENDS_TRANSACTION_TIMEOUT = 17
"""The first version whose pg_restore and pg_dump set what servers before it do not know."""


@dataclass(frozen=True)
class Client:
    """An installation of the client programs, and what its build can do."""

    directory: Path
    major: int
    version: str
    zstd: bool
    ssl: bool


class Clients:
    """The installations of a host, each asked once; where directories are named, none but those."""

    def __init__(self, host: Host, directories: Sequence[Path] = (), *, only: bool = False) -> None:
        self._host, self._directories, self._only = host, directories, only

    @cached_property
    def all(self) -> Sequence[Client]:
        """All installations, the oldest first; of equal majors the named come first, then the system's, the wheel's.

        The system's are built with what the wheel's lack: TLS, zstd.
        """
        found = [*self._directories]
        if not self._only:
            packaged = list(package_directories(self._host.list))
            on_path = self._host.which("pg_dump")
            # Beside Debian's packages the pg_dump of the PATH is a wrapper that picks a version by its own rules.
            found += [*packaged, *([on_path.parent] if on_path and not packaged else []), *wheel_directories()]
        clients = [client for directory in dict.fromkeys(found) if (client := self._ask(directory))]
        return sorted(clients, key=lambda client: client.major)

    def for_server(self, server_version: int, dsn: str = "", program: str = "pg_dump") -> Client:
        """Return the oldest client that is not older than the server, and that can encrypt if the DSN asks for it."""
        major = server_version // 10000
        for client in self.all:
            if client.major >= major and self._can(client, dsn, program):
                return client
        raise self.none_fits(program, f"version {major} or newer{_with_tls(dsn)}")

    def for_dump(self, server_version: int, dsn: str = "") -> Client:
        """Return the client for a dump that can go back into the server it came from, as `for_server` else."""
        client = self.for_server(server_version, dsn)
        if server_version // 10000 < SENDS_TRANSACTION_TIMEOUT <= client.major:
            raise self.none_fits(
                "pg_dump",
                f"version {server_version // 10000} to {SENDS_TRANSACTION_TIMEOUT - 1}{_with_tls(dsn)}: a server "
                f"before {SENDS_TRANSACTION_TIMEOUT} does not understand the restore of a newer one's archive",
            )
        return client

    def for_restore(self, least: int, server_version: int, dsn: str, *, zstd: bool, where: Path) -> Client:
        """Return the client nearest to the server that reads an archive of pg_dump ``least`` and speaks to the server.

        ``zstd`` tells whether the archive is compressed by that, ``where`` it is.
        """
        target = server_version // 10000
        if target < SENDS_TRANSACTION_TIMEOUT <= least:
            raise ToolMissing(
                f"the archive was written by pg_dump {least} and PostgreSQL {target} does not understand its restore",
                where=str(where),
                do=f"restore into a server of {SENDS_TRANSACTION_TIMEOUT} or newer, or dump with pg_dump 16 or older",
            )
        fit = [
            client
            for client in self.all
            if client.major >= least
            and (target >= SENDS_TRANSACTION_TIMEOUT or client.major < SENDS_TRANSACTION_TIMEOUT)
            and (client.zstd or not zstd)
            and self._can(client, dsn, "pg_restore")
        ]
        if not fit:
            most = "" if target >= SENDS_TRANSACTION_TIMEOUT else f" and before {SENDS_TRANSACTION_TIMEOUT}"
            built = ", built with zstd" if zstd else ""
            raise self.none_fits("pg_restore", f"version {least} or newer{most}{built}{_with_tls(dsn)}")
        return min(fit, key=lambda client: abs(client.major - target))

    def newest(self) -> Client:
        """Return the newest client, which reads every archive; raises `ToolMissing`."""
        if not self.all:
            raise self.none_fits("pg_restore", "any version")
        return self.all[-1]

    def having(self, program: str, *majors: int) -> Sequence[Client]:
        """Return the clients of those versions that have a program."""
        return [one for one in self.all if one.major in majors and self._host.exists(one.directory / program)]

    def none_fits(self, program: str, needed: str) -> ToolMissing:
        """Return the error that tells which clients there are, and which was needed."""
        there = ", ".join(f"{client.version} in {client.directory}" for client in self.all) or "none"
        where = f" among those of {', '.join(map(str, self._directories))}" if self._only else ""
        return ToolMissing(
            f"no {program} that fits{where}; there are: {there}",
            expected=needed,
            do="install PostgreSQL's client programs of that version"
            + (", or take database.tools out of the release file to choose among all" if self._only else ""),
        )

    def _can(self, client: Client, dsn: str, program: str) -> bool:
        return (client.ssl or not _needs_ssl(dsn)) and self._host.exists(client.directory / program)

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


def _needs_ssl(dsn: str) -> bool:
    return dsns.options(dsn).get("sslmode") in {"require", "verify-ca", "verify-full"}


def _with_tls(dsn: str) -> str:
    return ", built with TLS" if _needs_ssl(dsn) else ""
