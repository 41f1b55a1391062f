"""A machine over SSH: runs programs and keeps files there as `LocalHost` does here."""

from __future__ import annotations

import secrets
from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

from tasks.adapters import ssh_files as files
from tasks.adapters.host import name_beside
from tasks.adapters.process import judged, shown
from tasks.adapters.ssh_connection import Connection, Login
from tasks.adapters.ssh_errors import failed_there
from tasks.adapters.ssh_script import Said, Script, finding, lacking, running, spawning
from tasks.domain.errors import CommandFailed, OutsideError, TimedOut, ToolMissing
from tasks.domain.ports import Command, Finished
from tasks.domain.units import show_seconds

FILE_TIMEOUT = 60.0
"""Seconds that a look at a file, or a small change of one, may take."""
TREE_TIMEOUT = 900.0
"""Seconds that copying or removing a directory may take."""

_PORTS = range(20_000, 32_768)  # below those that Linux gives to outgoing connections


class SshHost:
    """A machine that golive reaches by OpenSSH, over one connection that stays open."""

    def __init__(self, name: str, login: Login, python: str = "") -> None:
        """Name the machine; programs beside its ``python``, if that is a path, are found too."""
        self.name = name
        self.connection = Connection(name, login)
        self._path = str(Path(python).parent) if python.startswith("/") else ""

    def close(self) -> None:
        """Close the connection."""
        self.connection.close()

    def require_usable(self) -> None:
        """Raise `ToolMissing` unless the machine has the programs that golive itself needs there."""
        _said, out = self._said(lacking((*files.NEEDED, "setsid"), self._path), "")
        if missing := out.split():
            raise ToolMissing(
                f"{', '.join(missing)} not found",
                expected="coreutils, findutils, util-linux and tar",
                where=f"host {self.name}",
                do="install them there",
            )

    def run(self, command: Command) -> Finished:
        """Run a command to its end, with a limited environment and in a process group of its own.

        Raises as `Host.run` says, and `Unreachable`, `AccessDenied` or `ConnectionLost` about the connection. A command
        whose connection broke may still run until it ends.
        """
        try:
            script = running(command, self._path)
            ended = self.connection.run(script, command.timeout)
            said = script.heard(ended.stderr)
            self._require(command, said)
            code = ended.exit_code if ended.exit_code is None else said.exit_code
            return judged(command, replace(ended, exit_code=code, stderr=said.stderr))
        except (CommandFailed, TimedOut, ToolMissing) as error:
            raise self._named(error) from error.__cause__

    def spawn(self, command: Command, log: Path) -> int:
        """Start a command that outlives golive, its output added to ``log`` (0600), and return its process id."""
        script = spawning(command, log, self._path)
        said, out = self._said(script, str(log))
        self._require(command, said)
        return int(out.split()[-1])

    def which(self, program: str) -> Path | None:
        """Return where a program is, or None. A program beside the host's own Python is found too."""
        script = finding(program, self._path)
        ended = self.connection.run(script, FILE_TIMEOUT)
        found = ended.stdout.strip()
        return Path(found) if found else None

    def write(self, path: Path, text: str, mode: int = 0o600) -> None:
        """Replace a file in one step (write beside it, fsync, rename), making its directory with 0700."""
        content = text.encode()
        self._do(files.write(path, name_beside(path), mode, len(content)), path, stdin=content)

    def read(self, path: Path) -> str | None:
        """Return a file's text with its own line ends, or None if there is no such file."""
        return self._look(files.read(path), path)

    def exists(self, path: Path) -> bool:
        """Tell whether something is there; a symbolic link that leads nowhere is something."""
        return self._look(files.exists(path), path) is not None

    def copy_tree(self, source: Path, target: Path) -> None:
        """Copy a directory so that ``target`` is either absent or whole, replacing it whole if it is there."""
        self._do(files.copy_tree(source, target, name_beside(target), name_beside(target)), target, TREE_TIMEOUT)

    def send_tree(self, source: Path, target: Path, leave_out: Collection[str] = ()) -> None:
        """Copy a directory of golive's own machine there, whole or not at all."""
        mark = f".golive-whole-{secrets.token_hex(8)}"
        script = Script(files.receive_tree(target, name_beside(target), name_beside(target), mark))
        with files.packed(source, leave_out, mark, script.head()) as archive:
            ended = self.connection.run(script, TREE_TIMEOUT, archive)
        self._must(script.heard(ended.stderr), target, TREE_TIMEOUT)

    def remove_tree(self, path: Path) -> None:
        """Remove a directory and what is in it (or a file); nothing there is fine."""
        self._do(files.remove_tree(path, name_beside(path)), path, TREE_TIMEOUT)

    def links(self, path: Path) -> Mapping[str, str]:
        """Return where each symbolic link below a directory leads, by the link's path in the directory."""
        parts = (self._look(files.links(path), path) or "").split("\0")[:-1]
        return {name.removeprefix("./"): leads for name, leads in zip(parts[::2], parts[1::2], strict=True)}

    def link(self, path: Path, target: Path) -> None:
        """Make ``path`` a symbolic link to ``target`` in one step, replacing an earlier link."""
        self._do(files.link(path, target, name_beside(path)), path)

    def list(self, path: Path) -> Sequence[str]:
        """Return the names in a directory, sorted; none if there is no such directory."""
        return sorted((self._look(files.listing(path), path) or "").split("\0")[:-1])

    def disk_free(self, path: Path) -> int:
        """Return the bytes free to an ordinary user on the file system of ``path`` or its nearest parent."""
        blocks, size = (self._look(files.disk_free(path), path) or "").split()
        return int(blocks) * int(size)

    def port_is_free(self, port: int) -> bool:
        """Tell whether nothing listens on 127.0.0.1:port, as Linux has it in its table."""
        return port not in files.listeners(self._table())

    def free_port(self) -> int:
        """Return a port of 127.0.0.1 that nothing listens on at this moment."""
        taken = files.in_use(self._table())
        return secrets.choice([port for port in _PORTS if port not in taken])

    def lend(self, port: int) -> AbstractContextManager[int]:
        """Let the machine reach a port of golive's own 127.0.0.1, and give the port there that leads to it."""
        return self.connection.lent(port)

    def reach(self, port: int) -> AbstractContextManager[int]:
        """Give the port of golive's own 127.0.0.1 that leads to a port of the machine's."""
        return self.connection.reached(port)

    def tunnel_to(self, port: int, *, anew: bool = False) -> Path:
        """Return a socket that leads to a port of the machine's 127.0.0.1."""
        return self.connection.tunnel_to(port, anew=anew)

    def _table(self) -> str:
        return self._look(files.SOCKETS, Path("/proc/net/tcp")) or ""

    def _look(self, body: str, path: Path) -> str | None:
        """Return what a script printed, or None where it says that nothing is there."""
        script = Script(body)
        said, out = self._said(script, str(path))
        if said.exit_code == files.NOTHING:
            return None
        self._must(said, path)
        return out

    def _do(self, body: str, path: Path, timeout: float = FILE_TIMEOUT, stdin: bytes = b"") -> None:
        said, _out = self._said(Script(body, stdin), str(path), timeout)
        self._must(said, path, timeout)

    def _said(self, script: Script, where: str, timeout: float = FILE_TIMEOUT) -> tuple[Said, str]:
        ended = self.connection.run(script, timeout)
        if ended.exit_code is None:
            raise self._named(TimedOut("did not end", expected=f"within {show_seconds(timeout)}", where=where))
        return script.heard(ended.stderr), ended.stdout

    def _must(self, said: Said, path: Path, timeout: float = FILE_TIMEOUT) -> None:
        if said.exit_code is None:
            raise self._named(TimedOut("did not end", expected=f"within {show_seconds(timeout)}", where=str(path)))
        if said.exit_code != 0:
            raise self._named(failed_there(said.stderr, str(path)))

    def _require(self, command: Command, said: Said) -> None:
        """Raise the error that says which thing a command needs and the machine does not have."""
        if said.missing == "program":
            raise ToolMissing(
                f"{command.argv[0]} cannot be run: there is no such program",
                where=f"host {self.name}, {shown(command)}",
                do=f"install {command.argv[0]} there or correct its name",
            )
        if said.missing == "directory":
            raise CommandFailed(
                f"directory {command.cwd} cannot be entered", where=f"host {self.name}, {shown(command)}"
            )

    def _named(self, error: OutsideError) -> OutsideError:
        """Return an error that says on which host it came about."""
        if not error.where.startswith(f"host {self.name}"):
            error.where = f"host {self.name}, {error.where}"
        return error
