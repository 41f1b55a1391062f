"""One SSH connection to a machine, kept open and shared by all that golive does there."""

from __future__ import annotations

import atexit
import os
import shutil
import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from tasks.adapters import process
from tasks.adapters.process import Ended, finish
from tasks.adapters.ssh_errors import cannot_connect
from tasks.adapters.ssh_script import BOOTSTRAP, Script, ending
from tasks.domain.errors import ConnectionLost, OutsideError, Unreachable
from tasks.domain.ports import Command

CONNECT_WITHIN = 10.0
"""Seconds until a machine that does not answer counts as unreachable."""
_LOGIN_WITHIN = CONNECT_WITHIN + 20.0
_KEPT_FOR = 600  # seconds that an unused connection stays open, also after a golive that was killed
_ALIVE = 5.0
_AT_ONCE = 8  # sessions over one connection; sshd lets ten be by default, and some stay for ending what hangs
_LONGEST_BASE = 60  # a socket's path has 107 bytes at most, and ssh appends to the name first
_TRIES = 3


@dataclass(frozen=True)
class Login:
    """How to get into a machine: where it is, as whom, with which key, and which host keys are trusted."""

    hostname: str
    user: str = ""
    port: int | None = None
    identity: Path | None = None
    known_hosts: Path | None = None

    def __str__(self) -> str:
        return f"ssh://{self.user + '@' if self.user else ''}{self.hostname}{f':{self.port}' if self.port else ''}"

    def options(self) -> list[str]:
        """Return ssh's options; what a person's own configuration says besides stays in force."""
        settings = {
            "BatchMode": "yes",
            "StrictHostKeyChecking": "yes",
            "UpdateHostKeys": "no",
            "ConnectTimeout": f"{CONNECT_WITHIN:g}",
            "ConnectionAttempts": "1",
            "ServerAliveInterval": "5",
            "ServerAliveCountMax": "3",
            "ClearAllForwardings": "yes",
            "ForwardAgent": "no",
            "ForwardX11": "no",
            "PermitLocalCommand": "no",
            "RemoteCommand": "none",
            "RequestTTY": "no",
            "ExitOnForwardFailure": "no",
        }
        if self.identity:
            settings |= {"IdentityFile": _quoted(self.identity), "IdentitiesOnly": "yes"}
        if self.known_hosts:
            settings |= {"UserKnownHostsFile": _quoted(self.known_hosts), "GlobalKnownHostsFile": "/dev/null"}
        words = [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]
        words += ["-l", self.user] if self.user else []
        return words + (["-p", str(self.port)] if self.port else [])


def _quoted(path: Path) -> str:
    """Return a path as ssh's configuration takes it, which else splits it at blanks and replaces what follows a %."""
    return '"' + str(path).replace("%", "%%") + '"'


class Connection:
    """A connection that is opened when it is first needed, and again when it was lost; several threads may use it."""

    def __init__(self, name: str, login: Login) -> None:
        self.name, self.login = name, login
        self._lock = threading.Lock()
        self._sessions = threading.BoundedSemaphore(_AT_ONCE)
        self._directory: Path | None = None
        self._tunnels: dict[int, Path] = {}
        self._lent: dict[int, int] = {}

    def run(self, script: Script, timeout: float, source: BinaryIO | None = None) -> Ended:
        """Run a script there to its end; if that takes too long, what it has started is ended too.

        Raises `Unreachable`, `AccessDenied` if golive is not let in or the machine is not the one known, and
        `ConnectionLost` if the connection breaks on the way.
        """
        with self._sessions:
            for last_try in (False, True):
                # Whether the connection lives is not asked before each command: one that is gone has begun nothing.
                if last_try or not self._seems_open():
                    self.ensure()
                ended = self._once(script, timeout, source)
                said = script.heard(ended.stderr)
                if ended.exit_code is None or said.exit_code is not None:
                    return ended
                if said.group is not None or self.is_open() or last_try:
                    break
                if source:
                    source.seek(0)
        if self.is_open():
            raise OutsideError(
                f"the shell there did not do its part, exit code {ended.exit_code}: {said.stderr.strip()[-500:]}",
                expected="an account with POSIX's sh, and a command that nobody kills",
                where=self.where,
            )
        raise ConnectionLost(
            f"the connection broke: {said.stderr.strip()[-500:] or 'no reason given'}",
            where=self.where,
            do="golive tries again; if it does not come back, look at that machine and the network to it",
        )

    @property
    def where(self) -> str:
        """The machine's name and address, for errors."""
        return f"host {self.name}, {self.login}"

    def _once(self, script: Script, timeout: float, source: BinaryIO | None) -> Ended:
        stdin = None if source else script.head() + script.stdin
        command = Command((*self._ssh(), "--", self.login.hostname, BOOTSTRAP), timeout=timeout, stdin=stdin)

        def end_there(stderr: str) -> None:
            group = script.heard(stderr).group
            if group is not None:
                last = ending(group, process.GRACE)
                command = (*self._ssh(), "--", self.login.hostname, BOOTSTRAP)
                finish(Command(command, timeout=process.GRACE + _ALIVE, stdin=last.head()), self._environment())

        ended = finish(command, self._environment(), source=source, last_words=script.last_words, broken_off=end_there)
        return replace(ended, stdout=script.printed(ended.stdout))

    def ensure(self) -> None:
        """Open the connection if it is not open."""
        with self._lock:
            if not self._is_open():
                self._open()

    def is_open(self) -> bool:
        """Tell whether the connection is there."""
        with self._lock:
            return self._is_open()

    def close(self) -> None:
        """Close the connection and forget it."""
        with self._lock:
            if self._directory is None:
                return
            if self._is_open():
                self._ask("exit")
            self._tunnels.clear()
            shutil.rmtree(self._directory, ignore_errors=True)
            self._directory = None
            atexit.unregister(self.close)

    def tunnel_to(self, port: int, *, anew: bool = False) -> Path:
        """Return a socket, which only golive's user can use, that leads to a port of the machine's 127.0.0.1."""
        self.ensure()
        with self._lock:
            path = self._tunnels.get(port)
            if path is None or anew or not path.exists():
                path = self._home() / f"p{port}"
                path.unlink(missing_ok=True)
                self._must("forward", "-L", f"{path}:127.0.0.1:{port}")
                self._tunnels[port] = path
            return path

    @contextmanager
    def reached(self, port: int) -> Iterator[int]:
        """Give a port of golive's own 127.0.0.1 that leads to a port of the machine's until the block ends."""
        self.ensure()
        for left in reversed(range(_TRIES)):
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                near = int(probe.getsockname()[1])
            try:
                self._must("forward", "-L", f"127.0.0.1:{near}:127.0.0.1:{port}")
                break
            except OutsideError:  # another process was faster to take the port
                if not left:
                    raise
        try:
            yield near
        finally:
            self._ask("cancel", "-L", f"127.0.0.1:{near}:127.0.0.1:{port}")

    @contextmanager
    def lent(self, port: int) -> Iterator[int]:
        """Give a port of the machine's 127.0.0.1 that leads to one of golive's own until the block ends."""
        self.ensure()
        # Asked twice for the same, ssh gives the port that it has, and takes it back from both at once.
        asked = ("-R", f"127.0.0.1:0:127.0.0.1:{port}")
        with self._lock:
            there = int(self._must("forward", *asked).strip())
            self._lent[port] = self._lent.get(port, 0) + 1
        try:
            yield there
        finally:
            with self._lock:
                self._lent[port] -= 1
                if not self._lent[port]:
                    self._ask("cancel", *asked)

    def _open(self) -> None:
        home = self._home()
        for left in home.iterdir():
            left.unlink()
        self._tunnels.clear()
        words = ("ssh", "-M", "-N", "-f", "-S", str(home / "c"), "-o", f"ControlPersist={_KEPT_FOR}")
        command = Command((*words, *self.login.options(), "--", self.login.hostname), timeout=_LOGIN_WITHIN)
        ended = finish(command, self._environment())
        if ended.exit_code is None:
            raise Unreachable(
                "no login", expected=f"one within {_LOGIN_WITHIN:g} s", where=self.where, do="look at sshd there"
            )
        if ended.exit_code != 0:
            raise cannot_connect(ended.stderr, self.where, self.login.hostname, self.login.port)

    def _seems_open(self) -> bool:
        directory = self._directory
        return directory is not None and (directory / "c").exists()

    def _is_open(self) -> bool:
        return self._seems_open() and self._ask("check").exit_code == 0

    def _must(self, what: str, *words: str) -> str:
        ended = self._ask(what, *words)
        if ended.exit_code != 0:
            raise OutsideError(
                f"{' '.join(words)} was refused: {ended.stderr.strip()[-300:]}",
                expected="a server that lets ports be forwarded",
                where=self.where,
                do="set AllowTcpForwarding yes in its sshd_config",
            )
        return ended.stdout

    def _ask(self, what: str, *words: str) -> Ended:
        command = (*self._ssh(), "-O", what, *words, "--", self.login.hostname)
        return finish(Command(command, timeout=_ALIVE), self._environment())

    def _ssh(self) -> tuple[str, ...]:
        # Without the connection there must be none at all: a second one would not have the ports of the first.
        alone = (
            "-o",
            "ControlMaster=no",
            "-o",
            "ProxyCommand=false",
            "-o",
            "BatchMode=yes",
            "-o",
            "RemoteCommand=none",
        )
        return ("ssh", "-T", "-S", str(self._home() / "c"), *alone)

    def _home(self) -> Path:
        if self._directory is None:
            base = tempfile.gettempdir()
            self._directory = Path(
                tempfile.mkdtemp(prefix="golive-ssh-", dir=base if len(base) <= _LONGEST_BASE else "/tmp")  # noqa: S108  mkdtemp makes it private
            )
            atexit.register(self.close)
        return self._directory

    @staticmethod
    def _environment() -> dict[str, str]:
        kept = ("PATH", "HOME", "USER", "LOGNAME", "SSH_AUTH_SOCK", "TMPDIR")
        return {name: os.environ[name] for name in kept if name in os.environ} | {"LC_ALL": "C"}
