"""A client at a constant rate, a process of its own: ``python -m tests.benchmarks.steady PORT RATE``.

It sends each request when it is due, answered or not, every other one over a kept-alive connection, and counts its time
from then. A kept-alive connection that turns out closed before any answer is given up and the request sent once more,
as RFC 9112 (9.3.1) has clients do, over a new connection, and counted. At the end of its input it writes what it saw.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import astuple, dataclass, field

_PATIENCE = 30.0


@dataclass(frozen=True)
class Sent:
    """One request: when it was due, how long it took, its status or error, the answer, and how often it was resent."""

    due: float
    took: float
    outcome: str
    body: str
    resent: int


@dataclass
class Seen:
    """What a client has seen; ``sent`` is filled at its end."""

    process: subprocess.Popen[str]
    sent: list[Sent] = field(default_factory=list)

    def between(self, begun: float, ended: float) -> list[Sent]:
        """Return the requests that were due in a span of time."""
        return [one for one in self.sent if begun <= one.due <= ended]


@contextmanager
def steady(port: int, rate: int) -> Iterator[Seen]:
    """Run a client until the block ends."""
    argv = [sys.executable, "-m", "tests.benchmarks.steady", str(port), str(rate)]
    process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    seen = Seen(process)
    try:
        yield seen
        out, _ = process.communicate(timeout=_PATIENCE + 30)
        seen.sent = [Sent(*row) for row in json.loads(out)]
    finally:
        process.kill()
        process.wait()


Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def _ask(connection: Connection, *, keep: bool) -> tuple[str, str, bool]:
    reader, writer = connection
    kept = "" if keep else "Connection: close\r\n"
    writer.write(f"GET / HTTP/1.1\r\nHost: bench\r\n{kept}\r\n".encode())
    await writer.drain()
    head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    length = int(head.partition("content-length:")[2].split("\r\n")[0] or 0)
    body = (await reader.readexactly(length)).decode()
    return head.split()[1], body, keep and "connection: close" not in head


async def _send(port: int, due: float, idle: list[Connection], *, keep: bool) -> Sent:
    resent, outcome, body = 0, "", ""
    while True:
        used = keep and bool(idle) and not resent
        connection = None
        try:
            connection = idle.pop() if used else await asyncio.open_connection("127.0.0.1", port)
            outcome, body, stays = await _ask(connection, keep=keep)
        except asyncio.IncompleteReadError as error:
            if used and not error.partial:
                resent += 1
                continue
            outcome = "closed before the answer"
        except OSError as error:
            if used:
                resent += 1
                continue
            outcome = type(error).__name__
        else:
            if stays:
                idle.append(connection)
                connection = None
        if connection:
            connection[1].close()
        return Sent(due, time.monotonic() - due, outcome, body, resent)


async def _run(port: int, rate: int) -> None:
    idle: list[Connection] = []
    tasks: list[asyncio.Task[Sent]] = []
    begun, number = time.monotonic(), 0
    ended = asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    while not ended.done():
        due = begun + number / rate
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        one = _send(port, due, idle, keep=number % 2 == 0)
        tasks.append(asyncio.create_task(asyncio.wait_for(one, _PATIENCE)))
        number += 1
    done = await asyncio.gather(*tasks, return_exceptions=True)
    late = Sent(begun, _PATIENCE, "late", "", 0)
    rows = [astuple(one if isinstance(one, Sent) else late) for one in done]
    sys.stdout.write(json.dumps(rows))


if __name__ == "__main__":
    asyncio.run(_run(int(sys.argv[1]), int(sys.argv[2])))
