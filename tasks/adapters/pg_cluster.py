"""One PostgreSQL data directory that golive owns: made, started, found running, stopped."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from tasks.adapters.pg_account import Account
from tasks.domain.errors import BackupNotProven, CommandFailed, OutsideError, ServerTrouble, TimedOut

INIT_TIMEOUT = 120.0
START_TIMEOUT = 120.0
STOP_TIMEOUT = 60.0
COPY_TIMEOUT = 3600.0
"""Seconds for initdb, for a start (with recovery after a crash), for a stop, for the copy of a base backup."""

SUPERUSER = "postgres"
_STARTS = 5
_POLL = 0.05
_COMMON = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",  # a socket's path has little room, and TCP serves every driver
    "max_connections": "200",
    "timezone": "UTC",
    "log_timezone": "UTC",
}


@dataclass(frozen=True)
class Postmaster:
    """A server process that runs on the data directory, as its own pid file describes it."""

    pid: int
    port: int
    ready: bool


class Cluster:
    """A directory with ``data``, ``password``, ``port`` and ``server.log``, run by the programs in ``binaries``.

    It belongs to the account that the server runs as: as root that is not golive's own, since PostgreSQL refuses root.
    """

    def __init__(self, directory: Path, binaries: Path, account: Account) -> None:
        self.directory = directory.absolute()
        self.data = self.directory / "data"
        self._binaries, self._account = binaries, account

    def make_directory(self) -> None:
        """Make the directory and give it to the server's account; raises `AccessDenied` if that cannot reach it."""
        self.directory.parent.mkdir(parents=True, exist_ok=True)
        self._account.require_access(self.directory.parent)
        self.directory.mkdir(mode=0o700, exist_ok=True)
        self._account.own(self.directory)

    def create(self, settings: Mapping[str, str], *, sync: bool) -> None:
        """Make the data directory, whole or not at all, with a random password for the superuser."""
        unfinished = self.directory / "data.new"
        shutil.rmtree(unfinished, ignore_errors=True)
        self._write("password", secrets.token_urlsafe(24))
        # Never the operator's locale, so that a server behaves alike wherever it is made.
        ctype = "C.UTF-8" if sys.platform == "linux" else "C"
        self._run(
            "initdb",
            *("--pgdata=data.new", f"--username={SUPERUSER}", "--pwfile=password", "--auth=scram-sha-256"),
            *("--encoding=UTF8", "--locale=C", f"--lc-ctype={ctype}", "--no-instructions"),
            *(() if sync else ("--no-sync",)),
            timeout=INIT_TIMEOUT,
        )
        lines = [_line(name, value) for name, value in (_COMMON | dict(settings)).items()]
        with (unfinished / "postgresql.conf").open("a") as file:
            file.writelines(lines)
        unfinished.rename(self.data)

    def change(self, before: Mapping[str, str], after: Mapping[str, str]) -> None:
        """Change settings that were given to `create` and restart the server for them; others are left as they are."""
        path = self.data / "postgresql.conf"
        text = found = path.read_text()
        for name, value in before.items():
            text = text.replace(_line(name, value), _line(name, after[name]) if name in after else "")
        if text != found:
            self.stop("fast")
            self._write("data/postgresql.conf.new", text)
            (self.data / "postgresql.conf.new").replace(path)
        self.start()

    def adopt(self, source: Path, settings: Mapping[str, str], *, move: bool = False) -> None:
        """Make the data directory as a copy of a base backup, with settings and a superuser of its own.

        With ``move`` it is the base backup itself, unless that lies on another file system.
        """
        unfinished = self.directory / "data.new"
        shutil.rmtree(unfinished, ignore_errors=True)
        if not (move and _moved(source, unfinished)):
            self._copy(source, unfinished)
        for path in [unfinished, *unfinished.rglob("*")]:
            self._account.own(path)
        # Nor may it go on as a standby, or fetch its log elsewhere: what it needs is in it.
        signals = ("recovery.signal", "standby.signal")
        for name in (
            "postgresql.conf",
            "postgresql.auto.conf",
            "pg_hba.conf",
            "pg_ident.conf",
            "postmaster.opts",
            *signals,
        ):
            (unfinished / name).unlink(missing_ok=True)
        lines = "".join(_line(name, value) for name, value in (_COMMON | dict(settings)).items())
        self._write("data.new/postgresql.conf", lines)
        self._write("data.new/pg_hba.conf", "host all all 127.0.0.1/32 scram-sha-256\n")
        self._write("data.new/pg_ident.conf", "")
        password = secrets.token_urlsafe(24)
        self._write("password", password)
        # Without a listener, so that nobody meets production's passwords here. A line is a statement.
        self._run(
            *("postgres", "--single", "-F", "-D", "data.new", "template1"),
            timeout=START_TIMEOUT,
            stdin=f"DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_authid WHERE rolname = '{SUPERUSER}') "
            f"THEN CREATE ROLE {SUPERUSER}; END IF; END $$;\n"
            f"ALTER ROLE {SUPERUSER} SUPERUSER LOGIN CONNECTION LIMIT -1 VALID UNTIL 'infinity' "
            f"PASSWORD '{password}';\nALTER ROLE {SUPERUSER} RESET ALL;\n",
        )
        unfinished.rename(self.data)

    def _copy(self, source: Path, target: Path) -> None:
        # Where the file system can share blocks between files, a copy takes no time and no room.
        argv = ["cp", "-a", *(["--reflink=auto"] if sys.platform == "linux" else []), str(source), str(target)]
        try:
            done = subprocess.run(argv, check=False, capture_output=True, text=True, timeout=COPY_TIMEOUT)
        except subprocess.TimeoutExpired as error:
            raise TimedOut("the backup is not copied", expected=f"within {COPY_TIMEOUT:.0f} s") from error
        if done.returncode:
            raise CommandFailed(f"cp ended with exit code {done.returncode}: {done.stderr.strip()}", where=str(target))

    def start(self) -> None:
        """Start the server and wait until it takes connections; one that runs already is waited for.

        Raises `CommandFailed` with the end of its log.
        """
        for attempt in range(_STARTS):
            if self._await_ready():
                return
            self._clear_stale()
            port = self._choose_port(attempt)
            try:
                # Relative paths: pg_ctl hands them to a shell.
                self._run(
                    "pg_ctl",
                    *("start", "--silent", "-w", f"--timeout={START_TIMEOUT:.0f}"),
                    *("--pgdata=data", "--log=server.log", f"--options=-p {port}"),
                    timeout=START_TIMEOUT + 10,
                )
            except CommandFailed:
                # Between choosing and using it, another program may have taken the port.
                if attempt == _STARTS - 1 or _is_free(port):
                    raise
            else:
                self._write("port", str(port))
                return

    def stop(self, mode: str) -> None:
        """Stop the server (``fast`` or ``immediate``) and wait for its end; one that does not run is fine."""
        if self.postmaster():
            self._run(
                "pg_ctl",
                *("stop", "--silent", "-w", f"--mode={mode}", f"--timeout={STOP_TIMEOUT:.0f}", "--pgdata=data"),
                timeout=STOP_TIMEOUT + 10,
            )

    def check_pages(self, timeout: float) -> str:
        """Return the tool that held every page against its checksum, for which the server stops and starts again.

        Raises `BackupNotProven` with what it found, `CommandFailed` if the pages have no checksums.
        """
        self.stop("fast")
        try:
            done = self._finished("pg_checksums", "--check", "--pgdata=data", timeout=timeout)
        finally:
            self.start()
        said = " ".join(f"{done.stdout} {done.stderr}".split())
        # It ends with 1 whatever is amiss; only after it has read all it tells the figures, on its standard output.
        if done.returncode and done.stdout:
            raise BackupNotProven(
                f"pg_checksums found damage in the copy: {said[:500]}",
                expected="every page as its checksum says",
                do="take a new backup; look for the disk's trouble, production's too",
            )
        if done.returncode:
            raise CommandFailed(f"pg_checksums could not look: {said[:500]}", where=str(self.directory))
        return "pg_checksums"

    def postmaster(self) -> Postmaster | None:
        """Return the server that runs on this data directory, or None."""
        try:
            lines = (self.data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return None
        if len(lines) < 4:
            return None
        pid = int(lines[0])
        # The number alone proves nothing: after a crash it may belong to any process.
        if pid not in self._processes(pid):
            return None
        return Postmaster(pid, int(lines[3]), ready=len(lines) > 7 and lines[7].strip() == "ready")

    def dsn(self, database: str) -> str:
        """Return the DSN of a database; raises `ServerTrouble` if the server does not run."""
        postmaster = self.postmaster()
        if not postmaster:
            raise ServerTrouble("the embedded PostgreSQL does not run", where=str(self.directory))
        password = (self.directory / "password").read_text()
        return f"postgresql://{SUPERUSER}:{password}@127.0.0.1:{postmaster.port}/{quote(database, safe='')}"

    def _await_ready(self) -> bool:
        """Wait for a server that runs to take connections, and tell whether there is one."""
        deadline = time.monotonic() + START_TIMEOUT
        while postmaster := self.postmaster():
            if postmaster.ready:
                return True
            if time.monotonic() > deadline:
                raise TimedOut("the embedded PostgreSQL is not ready", where=str(self.directory))
            time.sleep(_POLL)
        return False

    def _clear_stale(self) -> None:
        """Remove the pid file of a server that was killed, once none of its processes is left.

        PostgreSQL does so itself, unless the number now belongs to another process of the same user.
        """
        deadline = time.monotonic() + STOP_TIMEOUT
        while self._processes():
            if time.monotonic() > deadline:
                raise TimedOut("processes of a killed PostgreSQL are still there", where=str(self.data))
            time.sleep(_POLL)
        if Path("/proc/self/cwd").exists():
            (self.data / "postmaster.pid").unlink(missing_ok=True)

    def _processes(self, *pids: int) -> Sequence[int]:
        """Return the server's processes, of these or of all: each works in the data directory."""
        proc, found = Path("/proc"), []
        if not (proc / "self/cwd").exists():
            return [pid for pid in pids if _exists(pid)]
        place = self.data.resolve()
        for pid in pids or [int(entry.name) for entry in proc.iterdir() if entry.name.isdigit()]:
            process = proc / str(pid)
            try:
                if (process / "cwd").readlink() == place and (process / "exe").readlink().name.startswith("postgres"):
                    found.append(pid)
            except OSError:  # it has ended, or is someone else's
                continue
        return found

    def _choose_port(self, attempt: int) -> int:
        recorded = self.directory / "port"
        if attempt == 0 and recorded.exists():
            port = int(recorded.read_text())
            if _is_free(port):
                return port
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            return int(probe.getsockname()[1])

    def _write(self, name: str, text: str) -> None:
        path = self.directory / name
        path.unlink(missing_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
        self._account.own(path)

    def _run(self, program: str, *argv: str, timeout: float, stdin: str = "") -> None:
        done = self._finished(program, *argv, timeout=timeout, stdin=stdin)
        if done.returncode:
            said = f"{done.stdout}{done.stderr}".strip() + self._log_end()
            raise CommandFailed(f"{program} ended with exit code {done.returncode}: {said}", where=str(self.directory))

    def _finished(self, program: str, *argv: str, timeout: float, stdin: str = "") -> subprocess.CompletedProcess[str]:
        where = str(self.directory)
        try:
            return self._account.run(
                [str(self._binaries / program), *argv], cwd=self.directory, timeout=timeout, stdin=stdin
            )
        except subprocess.TimeoutExpired as error:
            raise TimedOut(f"{program} did not end", expected=f"within {timeout:.0f} s", where=where) from error
        except OSError as error:
            raise OutsideError(f"{program} cannot be run: {error.strerror}", where=where) from error

    def _log_end(self) -> str:
        try:
            lines = (self.directory / "server.log").read_text(errors="replace").splitlines()
        except FileNotFoundError:
            return ""
        return "\n" + "\n".join(lines[-10:])


def _moved(source: Path, target: Path) -> bool:
    try:
        source.rename(target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise OutsideError(f"cannot be moved: {error.strerror}", where=str(source)) from error
        return False
    return True


def _line(name: str, value: str) -> str:
    return f"{name} = '{value}'\n"


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return True


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
