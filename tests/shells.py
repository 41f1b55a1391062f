"""A shell that a test types into, in which ``golive`` is there and does not take seconds to be imported each time.

Each command of golive is a process of its own, forked from one that has imported golive in the shell's environment; it
gets the words, the directory, the variables, and the input and output that the shell gave it. Prefect's server must
answer, but flows run as they do without it, which takes half the time; `tests.systems.without_prefect` tells how. The
tutorial's commands, those of several machines and those of the command line's own test run through Prefect.
"""

from __future__ import annotations

import secrets
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.documents import ROOT

_SERVER = """
import os, signal, socket, struct, sys, threading, traceback
from deployments import starting
from deployments.cli import main
from tests.systems import without_prefect

alone = without_prefect()
alone.__enter__()
# What a report loads at its first plot: each command that comes to its end would load it anew.
import jinja2
import matplotlib.backends.backend_agg, matplotlib.backends.backend_svg, matplotlib.figure
assert threading.active_count() == 1, threading.enumerate()


def run(asked, streams):
    directory, count, *rest = asked.decode(errors="surrogateescape").split("\\0")
    words, given = rest[:int(count)], rest[int(count):]
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
    os.closerange(3, 256)
    os.chdir(directory)
    os.environ.clear()
    os.environ.update(one.split("=", 1) for one in given)
    sys.argv = ["golive", *words]
    code = 1
    try:
        code = main() or 0
    except SystemExit as error:
        code = error.code or 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def answer(connection):
    head, streams, _flags, _address = socket.recv_fds(connection, 4, 3)
    (length,) = struct.unpack("!I", head)
    asked = b""
    while len(asked) < length:
        asked += connection.recv(length - len(asked))
    child = os.fork()
    if not child:
        run(asked, streams)
    connection.sendall(struct.pack("!i", child))
    ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    connection.sendall(struct.pack("!i", ended))
    os._exit(0)


listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
listener.listen()
print("listening", flush=True)
while True:
    connection, _address = listener.accept()
    waits = os.fork()
    if not waits:
        # One that waits for the command, so that others may come meanwhile.
        listener.close()
        answer(connection)
    connection.close()
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass
"""

_CLIENT = """\
#!{python} -IS
import os, signal, socket, struct, sys
connection = socket.socket(socket.AF_UNIX)
connection.connect({place!r})
given = [f"{{name}}={{value}}" for name, value in os.environ.items()]
asked = "\\0".join([os.getcwd(), str(len(sys.argv) - 1), *sys.argv[1:], *given]).encode(errors="surrogateescape")
socket.send_fds(connection, [struct.pack("!I", len(asked))], [0, 1, 2])
connection.sendall(asked)
(child,) = struct.unpack("!i", connection.recv(4))
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, lambda given, _frame: os.kill(child, given))
(code,) = struct.unpack("!i", connection.recv(4))
sys.exit(code if code >= 0 else 128 - code)
"""


@contextmanager
def forked_golive(directory: Path, environment: Mapping[str, str]) -> Iterator[Path]:
    """Give a directory for ``PATH`` whose ``golive`` is forked from a process with an environment."""
    place, program = directory / "golive.socket", directory / "bin" / "golive"
    program.parent.mkdir()
    program.write_text(_CLIENT.format(python=sys.executable, place=str(place)))
    program.chmod(0o755)
    with subprocess.Popen(
        [sys.executable, "-c", _SERVER, str(place)],
        env={**environment, "PYTHONPATH": str(ROOT)},
        cwd=directory,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "listening\n"
            yield program.parent
        finally:
            process.kill()


@dataclass(frozen=True)
class Shell:
    """A bash that keeps its directory and its variables from one command to the next."""

    process: subprocess.Popen[str]

    def run(self, text: str) -> tuple[int, str]:
        """Run a command, with nothing on its input, and return its exit code and all that it prints."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        mark = secrets.token_hex(8)
        self.process.stdin.write(f"{{ {text}\n}} < /dev/null\nprintf '\\n{mark} %d\\n' $?\n")
        self.process.stdin.flush()
        said: list[str] = []
        for line in self.process.stdout:
            if line.startswith(mark):
                return int(line.split()[1]), "".join(said).strip("\n")
            said.append(line)
        raise AssertionError(f"the shell has ended at {text}:\n{''.join(said)}")


@contextmanager
def a_shell(directory: Path, environment: Mapping[str, str]) -> Iterator[Shell]:
    """Run a shell in a directory and an environment until the block ends."""
    with subprocess.Popen(
        ["bash", "--norc", "--noprofile"],
        cwd=directory,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            yield Shell(process)
        finally:
            process.kill()
