"""What a machine offers: time, files, processes and the network."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Protocol


class Clock(Protocol):
    """Tells the time and waits."""

    def now(self) -> datetime:
        """Return the present moment, aware, in UTC."""
        ...

    def monotonic(self) -> float:
        """Return seconds from an arbitrary start that never go back."""
        ...

    def sleep(self, seconds: float) -> None:
        """Wait."""
        ...


@dataclass(frozen=True)
class Command:
    """A program with its arguments, run without a shell; ``timeout`` is in seconds.

    ``env`` is added to a limited environment (PATH, HOME, LANG, TZ, TMPDIR). ``secret_env`` is added likewise, and its
    values are masked wherever the command or its output is shown.
    """

    argv: tuple[str, ...]
    cwd: Path | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    secret_env: Mapping[str, str] = field(default_factory=dict, repr=False)
    timeout: float = 60.0
    stdin: bytes | None = None
    ok_exit: tuple[int, ...] = (0,)


@dataclass(frozen=True)
class Finished:
    """How a command ended; ``took`` is in seconds."""

    exit_code: int
    stdout: str
    stderr: str
    took: float


class Host(Protocol):
    """A machine: runs commands and keeps files. The local one, or one over SSH."""

    name: str

    def require_usable(self) -> None:
        """Raise `ToolMissing` unless the machine has the programs that golive itself needs there."""
        ...

    def run(self, command: Command) -> Finished:
        """Run a command to its end.

        Raises `CommandFailed` with the last lines of output unless the exit code is in ``ok_exit``, `ToolMissing` if
        there is no such program, and `TimedOut` after killing the whole process group.
        """
        ...

    def spawn(self, command: Command, log: Path) -> int:
        """Start a command that outlives golive, its output added to ``log`` (0600), and return its process id."""
        ...

    def which(self, program: str) -> Path | None:
        """Return where a program is, or None. A program beside golive's own Python is found too."""
        ...

    def write(self, path: Path, text: str, mode: int = 0o600) -> None:
        """Replace a file in one step (write beside it, fsync, rename), making its directory with 0700."""
        ...

    def read(self, path: Path) -> str | None:
        """Return a file's text, or None if there is no such file."""
        ...

    def exists(self, path: Path) -> bool:
        """Tell whether something is there."""
        ...

    def copy_tree(self, source: Path, target: Path) -> None:
        """Copy a directory so that ``target`` is either absent or whole."""
        ...

    def send_tree(self, source: Path, target: Path, leave_out: Collection[str] = ()) -> None:
        """Copy a directory of golive's own machine to this one so that ``target`` is either absent or whole.

        Whatever has a name in ``leave_out`` is left out.
        """
        ...

    def remove_tree(self, path: Path) -> None:
        """Remove a directory and what is in it; nothing there is fine."""
        ...

    def links(self, path: Path) -> Mapping[str, str]:
        """Return where each symbolic link below a directory leads, by the link's path in the directory."""
        ...

    def link(self, path: Path, target: Path) -> None:
        """Make ``path`` a symbolic link to ``target`` in one step, replacing an earlier link."""
        ...

    def list(self, path: Path) -> Sequence[str]:
        """Return the names in a directory, sorted; none if there is no such directory."""
        ...

    def disk_free(self, path: Path) -> int:
        """Return the bytes free to an ordinary user on the file system of ``path`` or its nearest parent."""
        ...

    def port_is_free(self, port: int) -> bool:
        """Tell whether nothing listens on 127.0.0.1:port."""
        ...

    def free_port(self) -> int:
        """Return a port of 127.0.0.1 that nothing listens on at this moment."""
        ...

    def lend(self, port: int) -> AbstractContextManager[int]:
        """Let this machine reach a port of golive's own 127.0.0.1, and give its own port that leads there."""
        ...

    def reach(self, port: int) -> AbstractContextManager[int]:
        """Give the port of golive's own 127.0.0.1 that leads to a port of this machine's 127.0.0.1."""
        ...


@dataclass(frozen=True)
class Handshake:
    """What a TLS server showed: the protocol agreed on, its certificate (DER), and why it is not to be trusted."""

    protocol: str
    certificate: bytes
    distrust: str


class Network(Protocol):
    """Names and connections, as golive's own machine sees them."""

    def addresses(self, name: str) -> Sequence[str]:
        """Return the addresses that a name leads to.

        Raises `NotFound` if there is no such name, `Unreachable` if nobody could be asked.
        """
        ...

    def connect(self, host: str, port: int, *, timeout: float) -> float:
        """Open a connection, close it, and return the seconds that it took.

        Raises `Unreachable` if it is refused, `TimedOut` if nothing answers, and as `addresses` does.
        """
        ...

    def handshake(
        self, host: str, port: int, *, name: str, ca: Path | None, newest: str | None, timeout: float
    ) -> Handshake:
        """Shake hands with a TLS server for ``name``, by the authorities of the system or those of ``ca``.

        ``newest`` is the newest protocol to offer. Raises as `connect` does, and `OutsideError` if they do not agree.
        """
        ...
