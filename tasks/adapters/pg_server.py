"""PostgreSQL servers that golive runs itself: throwaway ones, and one that lasts and is shared."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from tasks.adapters.pg_account import Account, server_account
from tasks.adapters.pg_binaries import package_directories, version_in, wheel_directories
from tasks.adapters.pg_cluster import START_TIMEOUT, Cluster
from tasks.adapters.postgres import Postgres
from tasks.domain.errors import SqlFailed, TimedOut, ToolMissing, UserError
from tasks.domain.relation import quoted

COPIES = Path("/var/cache/golive-postgresql")
"""Where the wheel's programs are copied when golive is root and its own directory is closed to others."""

_POLL = 0.05
_NOT_DURABLE = {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off"}
_FILLED_FIRST = {
    # What is restored is not logged then, which saves a fifth of the time; nothing else may be measured meanwhile.
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "autovacuum": "off",
    # What is written stays in the memory of the system, as far as there is room, instead of being pushed to the disk.
    "checkpoint_timeout": "1d",
    "max_wal_size": "4GB",
    "checkpoint_flush_after": "0",
    "bgwriter_flush_after": "0",
    "bgwriter_lru_maxpages": "0",
}
_LOGS_FULLY = {"wal_level": "replica", "max_wal_senders": "10", "autovacuum": "off"}
_COPY = {
    "archive_mode": "off",
    "max_logical_replication_workers": "0",  # a subscription must not take changes from its publisher
    "max_prepared_transactions": "100",  # those of production were copied
}


class Throwaway:
    """A server that lives as long as the block that it was started for."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def dsn(self, database: str = "postgres") -> str:
        """Return the DSN of one of its databases."""
        return self._cluster.dsn(database)


class EmbeddedServers:
    """Starts throwaway servers, from the wheel's programs or the system's packages."""

    @contextmanager
    def throwaway(self, directory: Path, *, major: int | None = None) -> Iterator[Throwaway]:
        """Run a server in a new directory, with durability off, until the block ends; then remove it.

        Its version is the lowest that is not below ``major`` (at the same version the system's packages, which have
        the contributed extensions, come before the wheel), and without one the wheel's newest. What an earlier,
        killed run left in the directory is stopped and removed first.
        Raises `ToolMissing` if no version fits, `AccessDenied` if the server's account cannot reach the directory.
        """
        account = server_account()
        cluster = Cluster(directory, usable(_binaries(major), account), account)
        if directory.exists() and any(directory.iterdir()):
            if not (directory / "password").exists():
                raise UserError("the directory holds something else", where=str(directory), do="name a new directory")
            _discard(cluster)
        try:
            yield _new(cluster)
        finally:
            _discard(cluster)

    def keep(self, directory: Path, *, major: int | None = None) -> Throwaway:
        """Run a server as `throwaway` does, or find it running, and let it run until `remove`.

        It is made to be filled: until `log_fully` it logs as little as may be. A server whose process died is started
        again on its data, which may have suffered: durability is off.
        """
        account = server_account()
        made_by = _made_by(directory)
        binaries = _binaries(major) if made_by is None else _binaries(made_by, exact=True)
        cluster = Cluster(directory, usable(binaries, account), account)
        if made_by is None:
            return _new(cluster, _FILLED_FIRST)
        cluster.start()
        return Throwaway(cluster)

    def log_fully(self, directory: Path) -> None:
        """Let a kept server log what it does as production does; it restarts for that once."""
        account = server_account()
        binaries = usable(_binaries(_made_by(directory), exact=True), account)
        Cluster(directory, binaries, account).change(_FILLED_FIRST, _LOGS_FULLY)

    def require(self, major: int) -> None:
        """Raise `ToolMissing` unless there are programs of just that major version."""
        _binaries(major, exact=True)

    def boot(self, directory: Path, data: Path, *, major: int, move: bool = False) -> Throwaway:
        """Run a server on a copy of a base backup, replacing what is there, and let it run until `remove`.

        With ``move`` the base backup itself is used up.

        Of the backup's own settings none is used: it must neither archive, nor replicate, nor run what they load.
        Raises `ToolMissing` if there are no programs of just that version, `CommandFailed` with the end of its log.
        """
        self.remove(directory)
        account = server_account()
        cluster = Cluster(directory, usable(_binaries(major, exact=True), account), account)
        cluster.make_directory()
        cluster.adopt(data, _NOT_DURABLE | _COPY, move=move)
        cluster.start()
        return Throwaway(cluster)

    def check_pages(self, directory: Path, *, timeout: float) -> str:
        """Return the tool that found every page of a kept server as its checksum says; the server restarts for it.

        Raises `BackupNotProven` with what it found.
        """
        account = server_account()
        binaries = usable(_binaries(_made_by(directory), exact=True), account)
        return Cluster(directory, binaries, account).check_pages(timeout)

    def remove(self, directory: Path) -> None:
        """End a kept server and remove its directory; nothing there is fine."""
        if directory.exists():
            account = server_account()
            made_by = _made_by(directory)
            binaries = _binaries(made_by, exact=made_by is not None)
            _discard(Cluster(directory, usable(binaries, account), account))


class EmbeddedServer:
    """A server that outlives golive's processes, which share it; its data is as safe as PostgreSQL can make it."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory.absolute()

    def ensure_running(self) -> None:
        """Start the server unless it runs, making it first if need be; processes that come at once start it once.

        Raises `CommandFailed` with the end of its log, `AccessDenied` if the server's account cannot reach the
        directory.
        """
        cluster = self._cluster()
        cluster.make_directory()
        with self._lock():
            if not cluster.data.exists():
                cluster.create({}, sync=True)
            cluster.start()

    def dsn(self, database: str = "postgres") -> str:
        """Return the DSN of a database, which is created if it is missing.

        Raises `ServerTrouble` if the server does not run.
        """
        cluster = self._cluster()
        with Postgres().session(cluster.dsn("postgres")) as session:
            if session.value("SELECT 1 FROM pg_database WHERE datname = %s", (database,)) is None:
                try:
                    session.execute(f"CREATE DATABASE {quoted(database)}")
                except SqlFailed as error:
                    # duplicate_database, unique_violation: another process was faster.
                    if error.sqlstate not in {"42P04", "23505"}:
                        raise
        return cluster.dsn(database)

    def stop(self) -> None:
        """Stop the server, ending its sessions; one that does not run is fine."""
        if self._directory.exists():
            with self._lock():
                self._cluster().stop("fast")

    def _cluster(self) -> Cluster:
        account = server_account()
        made_by = _made_by(self._directory)
        return Cluster(self._directory, usable(_binaries(made_by, exact=True), account), account)

    @contextmanager
    def _lock(self) -> Iterator[None]:
        descriptor = os.open(self._directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        deadline = time.monotonic() + START_TIMEOUT
        try:
            while True:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError as error:
                    if time.monotonic() > deadline:
                        raise TimedOut("another process holds the server's lock", where=str(self._directory)) from error
                    time.sleep(_POLL)
            yield
        finally:
            os.close(descriptor)


def _made_by(directory: Path) -> int | None:
    """Return the major version that made the data: it is run by that version ever after."""
    try:
        return int((directory / "data/PG_VERSION").read_text())
    except FileNotFoundError:
        return None


def _new(cluster: Cluster, more: Mapping[str, str] | None = None) -> Throwaway:
    cluster.make_directory()
    cluster.create(_NOT_DURABLE | dict(more or {}), sync=False)
    cluster.start()
    return Throwaway(cluster)


def _discard(cluster: Cluster) -> None:
    try:
        cluster.stop("immediate")
    finally:
        shutil.rmtree(cluster.directory, ignore_errors=True)


@cache
def installed() -> Sequence[tuple[int, Path]]:
    """Return major version and directory of each server, the system's before the wheel's."""
    packaged = package_directories(lambda parent: sorted(p.name for p in parent.glob("*")))
    found = []
    for directory in (*packaged, *wheel_directories()):
        if (directory / "postgres").exists() and (directory / "initdb").exists():
            argv = [str(directory / "postgres"), "--version"]
            done = subprocess.run(argv, check=False, capture_output=True, text=True, timeout=20)
            found.append((version_in(done.stdout)[0], directory))
    return [(major, directory) for major, directory in found if major]


def _binaries(major: int | None, *, exact: bool = False) -> Path:
    there = installed()
    if major is None:
        wheel = set(wheel_directories())
        own = [entry for entry in there if entry[1] in wheel]
        if own or there:
            return max(own or there, key=lambda entry: entry[0])[1]
    else:
        fit = [entry for entry in there if (entry[0] == major if exact else entry[0] >= major)]
        if fit:
            return min(fit, key=lambda entry: entry[0])[1]
    raise ToolMissing(
        f"no PostgreSQL server that fits; there are: {', '.join(str(entry[0]) for entry in there) or 'none'}",
        expected=f"version {major}{'' if exact else ' or newer'}" if major else "any version",
        do="install PostgreSQL's server package of that version",
    )


def usable(binaries: Path, account: Account) -> Path:
    """Return where the account can run these programs: a copy, if golive is root and lives where others may not go."""
    if account.may_enter(binaries / "postgres"):
        return binaries
    install = binaries.parent
    site = install.parent.parent
    copy = COPIES / f"{install.name}-{int((binaries / 'postgres').stat().st_mtime)}"
    if not copy.exists():
        COPIES.mkdir(mode=0o755, parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=COPIES) as unfinished:
            # The programs look for their libraries beside the package, by relative path.
            whole = Path(unfinished) / "whole"
            shutil.copytree(install, whole / install.parent.name / install.name, symlinks=True)
            for libraries in site.glob(f"{install.parent.name}.libs"):
                shutil.copytree(libraries, whole / libraries.name, symlinks=True)
            whole.chmod(0o755)
            if not copy.exists():
                whole.rename(copy)
    account.require_access(copy)
    return copy / install.parent.name / install.name / "bin"
