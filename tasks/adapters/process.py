"""One program run to its end: fed, read, timed, and killed with all its children if it takes too long."""

from __future__ import annotations

import os
import selectors
import shlex
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, BinaryIO

from tasks.adapters.secrets import mask_passwords, mask_values
from tasks.domain.errors import CommandFailed, TimedOut, ToolMissing
from tasks.domain.ports import Command, Finished
from tasks.domain.units import show_seconds

HEAD = 15_000_000
TAIL = 1_000_000
"""Bytes kept from the beginning and the end of each output stream."""

GRACE = 3.0
"""Seconds that a command which took too long has between SIGTERM and SIGKILL."""

_LEFT_OPEN = 0.3  # seconds to wait for output that a process left in the background still holds open
_CHUNK = 65_536
_LINES = 15
_BY_SIGNAL = 128  # what a shell adds to the number of the signal that has ended a program


@dataclass(frozen=True)
class Ended:
    """How a program ended: by its exit code (negative: the signal's number), or by None because it took too long."""

    exit_code: int | None
    stdout: str
    stderr: str
    took: float


def run(command: Command, environment: Mapping[str, str]) -> Finished:
    """Run a command in a session of its own with exactly this environment; raises as `Host.run` says."""
    return judged(command, finish(command, environment))


def finish(
    command: Command,
    environment: Mapping[str, str],
    *,
    source: BinaryIO | None = None,
    last_words: bytes = b"",
    broken_off: Callable[[str], None] = lambda _stderr: None,
) -> Ended:
    """Run a command to its end, whatever that is.

    ``source`` is a file to read in place of ``command.stdin``. A program that has written ``last_words`` to its error
    output has said all, and is ended if it does not end by itself. ``broken_off`` is called with the error output
    before a program is killed that took too long, or is not needed because golive was interrupted.
    """
    start = time.monotonic()
    process = _start(command, environment, source=source)
    talk = _Talk(process, None if source else command.stdin, last_words)
    try:
        ended = talk.until(start + command.timeout)
    finally:
        # Also when golive itself is interrupted: nothing of the command stays behind.
        if not talk.ended:
            try:
                if not talk.said_all:
                    broken_off(talk.kept[1].text())
            finally:
                _kill_group(process, talk)
        talk.close()
    took = time.monotonic() - start
    stdout, stderr = (kept.text() for kept in talk.kept)
    return Ended(process.returncode if ended else None, stdout, stderr, took)


def judged(command: Command, ended: Ended) -> Finished:
    """Return how a command ended, if it did as it should; raises `CommandFailed` or `TimedOut`."""
    code, stdout, stderr = ended.exit_code, ended.stdout, ended.stderr
    if code is None:
        raise TimedOut(
            _masked(command, f"did not end{_last_lines(stdout, stderr)}"),
            expected=f"within {show_seconds(command.timeout)}",
            where=shown(command),
        )
    if code not in command.ok_exit:
        words = f"ended by {_signal_name(-code)}" if code < 0 else f"exit code {code}"
        if code > _BY_SIGNAL:
            words += f", as after {_signal_name(code - _BY_SIGNAL)}"
        raise CommandFailed(_masked(command, f"{words}{_last_lines(stdout, stderr)}"), where=shown(command))
    return Finished(code, stdout, stderr, ended.took)


def spawn(command: Command, environment: Mapping[str, str], log: Path) -> int:
    """Start a command in a session of its own that nobody waits for; raises as `Host.run` does if it cannot start."""
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        started = _start(command, environment, output=descriptor)
    finally:
        os.close(descriptor)
    # Its end is collected by a thread, so that it does not stay behind as a zombie while this process lives.
    threading.Thread(target=started.wait, name=f"wait for {started.pid}", daemon=True).start()
    return started.pid


def mark_of(pid: int) -> str | None:
    """Return what tells a process from any other that has had or will have its number; None if it has ended.

    Empty where the system does not say when a process began.
    """
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass  # it is there, and someone else's
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        space = Path("/proc/self/ns/pid").readlink()
    except OSError:
        return ""
    # The name in brackets may hold anything; after it come the state (3) and, as 22nd, the start in ticks since boot.
    state, *fields = stat.rpartition(")")[2].split()
    return None if state in {"Z", "X"} else f"{''.join(filter(str.isdigit, str(space)))}.{fields[18]}"


class _Kept:
    """The beginning and the end of a stream, within bounds."""

    def __init__(self) -> None:
        self._head = bytearray()
        self._tail: deque[bytes] = deque()
        self._tail_size = 0
        self._dropped = 0

    def add(self, chunk: bytes) -> None:
        room = HEAD - len(self._head)
        self._head += chunk[:room]
        rest = chunk[room:]
        if rest:
            self._tail.append(rest)
            self._tail_size += len(rest)
        while self._tail_size - len(self._tail[0] if self._tail else b"") > TAIL:
            gone = len(self._tail.popleft())
            self._tail_size -= gone
            self._dropped += gone

    def text(self) -> str:
        note = f"\n… {self._dropped} bytes left out …\n".encode() if self._dropped else b""
        return b"".join((self._head, note, *self._tail)).decode(errors="replace")


class _Talk:
    """Feeds a process and reads what it says, until it has ended."""

    def __init__(self, process: subprocess.Popen[bytes], stdin: bytes | None, last_words: bytes = b"") -> None:
        self.kept = (_Kept(), _Kept())
        self.ended = False
        self.said_all = False
        self._last_words, self._recent = last_words, b""
        self._process = process
        self._rest = memoryview(stdin or b"")
        self._open = ExitStack()
        self._selector = self._open.enter_context(selectors.DefaultSelector())
        self._bell, self._ring = os.pipe()
        self._open.callback(os.close, self._bell)
        for stream, kept in zip((process.stdout, process.stderr), self.kept, strict=True):
            self._register(stream, selectors.EVENT_READ, kept)
        if stdin is not None:
            self._register(process.stdin, selectors.EVENT_WRITE, None)
        self._selector.register(self._bell, selectors.EVENT_READ)
        # A thread waits for the end, so that the end is seen even if a grandchild holds the output open.
        threading.Thread(target=self._wait, name=f"wait-{process.pid}", daemon=True).start()

    def until(self, deadline: float) -> bool:
        """Talk until the process has ended and its output is read, or the deadline passes; tell whether it ended.

        One that has said its last words counts as ended.
        """
        while not (self.ended and len(self._selector.get_map()) == 0):
            left = deadline - time.monotonic()
            if left <= 0:
                break
            for key, _events in self._selector.select(left):
                if key.fd == self._bell:
                    self.ended = True
                    self._selector.unregister(self._bell)
                    deadline = min(deadline, time.monotonic() + _LEFT_OPEN)
                elif key.data is None:
                    self._feed(key)
                else:
                    self._read(key, key.data)
                    if self.said_all:
                        deadline = min(deadline, time.monotonic() + _LEFT_OPEN)
        return self.ended or self.said_all

    def close(self) -> None:
        """Close golive's ends of the pipes."""
        self._open.close()

    def _register(self, stream: IO[bytes] | None, event: int, kept: _Kept | None) -> None:
        if stream is None:
            raise ValueError("the process was started without this pipe")
        os.set_blocking(stream.fileno(), False)
        self._open.callback(_close, stream)
        self._selector.register(stream, event, kept)

    def _wait(self) -> None:
        self._process.wait()
        os.close(self._ring)  # the other end becomes readable

    def _read(self, key: selectors.SelectorKey, kept: _Kept) -> None:
        chunk = os.read(key.fd, _CHUNK)
        if not chunk:
            self._selector.unregister(key.fileobj)
            return
        kept.add(chunk)
        if self._last_words and kept is self.kept[1] and not self.said_all:
            recent = self._recent + chunk
            self.said_all = self._last_words in recent
            self._recent = recent[-len(self._last_words) :]

    def _feed(self, key: selectors.SelectorKey) -> None:
        try:
            self._rest = self._rest[os.write(key.fd, self._rest[:_CHUNK]) :]
        except BrokenPipeError:
            self._rest = self._rest[:0]  # a program need not read all that it is given
        if not self._rest and self._process.stdin:
            self._selector.unregister(key.fileobj)
            _close(self._process.stdin)


def _start(
    command: Command,
    environment: Mapping[str, str],
    output: int = subprocess.PIPE,
    source: BinaryIO | None = None,
) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            command.argv,
            bufsize=0,
            stdin=source or (subprocess.DEVNULL if command.stdin is None else subprocess.PIPE),
            stdout=output,
            stderr=output,
            cwd=command.cwd,
            env=environment,
            start_new_session=True,
        )
    except (FileNotFoundError, PermissionError, NotADirectoryError) as error:
        if command.cwd and error.filename == command.cwd:
            raise CommandFailed(
                f"directory {command.cwd} cannot be entered: {error.strerror}", where=shown(command)
            ) from error
        raise ToolMissing(
            f"{command.argv[0]} cannot be run: {error.strerror}",
            where=shown(command),
            do=f"install {command.argv[0]} or correct its name",
        ) from error
    except (OSError, ValueError) as error:
        raise CommandFailed(_masked(command, f"could not be started: {error}"), where=shown(command)) from error


def _kill_group(process: subprocess.Popen[bytes], talk: _Talk) -> None:
    """End a process and all that it started in its session: ask first, then do not."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGTERM)
        talk.until(time.monotonic() + GRACE)
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    talk.until(time.monotonic() + GRACE)


def _close(stream: IO[bytes]) -> None:
    with suppress(BrokenPipeError):
        stream.close()


def _masked(command: Command, text: str) -> str:
    return mask_passwords(mask_values(text, command.secret_env.values()))


def shown(command: Command) -> str:
    """Return a command as one would type it, without its secrets."""
    return _masked(command, shlex.join(command.argv))


def _last_lines(stdout: str, stderr: str) -> str:
    said = (stderr.strip() or stdout.strip()).splitlines()[-_LINES:]
    return ":\n" + "\n".join(line[:500] for line in said) if said else ""


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
