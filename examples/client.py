"""A client that sends requests at a constant rate and counts what comes back.

``python -m examples.client --url http://127.0.0.1:8000 --rate 50 --out load.jsonl``, with the bearer token in
GLAD_LABS_TOKEN. It runs for ``--seconds``, or until SIGTERM or SIGINT. Each second a line of JSON goes to ``--out``;
the summary goes to standard output at the end. The schedule is open-loop: a request is due at its time whether or not
earlier ones have been answered, its latency counts from that time, and nothing is ever sent twice.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Self

import httpx

from examples.load_counts import Answer, Counts

TOKEN_ENV = "GLAD_LABS_TOKEN"  # noqa: S105 - a variable's name
LATE = 0.05
"""Seconds after its time from which a sent request counts as late."""

_STATUSES = ("in_progress", "awaiting_approval", "approved")
_EXPECTED = {"list": 200, "get": 200, "put": 200, "post": 201}
_WEIGHTS = {"list": 50, "get": 30, "put": 15, "post": 5}


@dataclass(frozen=True)
class Plan:
    """What to send: ``rate`` in requests per second, ``seconds`` or None for no end, ``timeout`` in seconds."""

    url: str
    rate: float
    seconds: float | None = None
    timeout: float = 10.0
    seed: int = 1


class Sender:
    """Sends the plan's requests, every other one on a fresh connection."""

    def __init__(self, plan: Plan, token: str, counts: Counts) -> None:
        self._plan, self._counts = plan, counts
        self._random = random.Random(plan.seed)
        self._ids: deque[str] = deque(maxlen=100)
        headers = {"Authorization": f"Bearer {token}"}
        self._clients = [
            httpx.AsyncClient(
                base_url=plan.url,
                headers=headers,
                timeout=plan.timeout,
                limits=httpx.Limits(max_keepalive_connections=kept, keepalive_expiry=4.0),
                trust_env=False,
            )
            for kept in (None, 0)
        ]

    async def run(self, stop: asyncio.Event) -> None:
        """Send until the plan's end or ``stop``, then wait for the answers that are still out."""
        start, number = time.monotonic(), 0
        async with asyncio.TaskGroup() as requests:
            while not stop.is_set():
                due = start + number / self._plan.rate
                if self._plan.seconds is not None and due - start >= self._plan.seconds:
                    break
                if await _stopped_before(stop, due):
                    break
                self._counts.sent(late=time.monotonic() - due > LATE)
                requests.create_task(self._send(number, due))
                number += 1
        for client in self._clients:
            await client.aclose()

    async def _send(self, number: int, due: float) -> None:
        kind, method, path, body = self._choose(number)
        version, reason = "none", ""
        try:
            async with asyncio.timeout(self._plan.timeout):
                answer = await self._clients[number % 2].request(method, path, json=body)
            version = answer.headers.get("x-version", "unknown")
            if answer.status_code != _EXPECTED[kind]:
                reason = str(answer.status_code)
            elif kind == "post":
                self._ids.append(answer.json()["id"])
        except (httpx.TimeoutException, TimeoutError):
            reason = "timeout"
        except httpx.HTTPError as error:
            reason = type(error).__name__
        except (ValueError, KeyError, TypeError):
            reason = "unreadable answer"
        self._counts.answered(Answer(time.monotonic() - due, version, reason, kind))

    def _choose(self, number: int) -> tuple[str, str, str, Any]:
        """Return the next request; only tasks that this client stored are asked for, since others may be removed."""
        kind = "post" if number == 0 else self._random.choices(list(_WEIGHTS), list(_WEIGHTS.values()))[0]
        if kind in {"get", "put"} and not self._ids:
            kind = "list"
        if kind == "list":
            return kind, "GET", "/api/tasks", None
        if kind == "post":
            return kind, "POST", "/api/tasks", {"title": f"load {number}", "metadata": {"load": True}}
        path = f"/api/tasks/{self._random.choice(self._ids)}"
        if kind == "get":
            return kind, "GET", path, None
        return kind, "PUT", f"{path}/status", {"status": self._random.choice(_STATUSES)}


async def _stopped_before(stop: asyncio.Event, due: float) -> bool:
    """Wait until ``due``; tell whether ``stop`` came first."""
    wait = due - time.monotonic()
    if wait <= 0:
        await asyncio.sleep(0)
        return stop.is_set()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(wait):
            await stop.wait()
    return stop.is_set()


class LoadClient:
    """Runs the client as a process of its own, so that neither slows the other down.

    ``rate`` is in requests per second; ``out`` gets a line of JSON per second. A context manager: it stops at the end.
    """

    def __init__(
        self, base_url: str, rate: float, token: str, *, out: Path | None = None, timeout: float = 10.0, seed: int = 1
    ) -> None:
        argv = ["--url", base_url, "--rate", str(rate), "--timeout", str(timeout), "--seed", str(seed)]
        self._argv = [sys.executable, "-m", "examples.client", *argv, *(["--out", str(out)] if out else [])]
        # The token travels in the environment, since anyone may read a process' arguments.
        self._env = {**os.environ, TOKEN_ENV: token}
        self.out = out
        """The file that gets a line of JSON per second."""
        self._timeout = timeout
        self._process: subprocess.Popen[str] | None = None
        self.summary: dict[str, Any] = {}
        """What was counted, once the client has stopped."""

    def start(self) -> Self:
        """Begin to send; nothing is done if it already does."""
        if self._process is None:
            root = Path(__file__).resolve().parent.parent
            self._process = subprocess.Popen(self._argv, env=self._env, cwd=root, stdout=subprocess.PIPE, text=True)
        return self

    def stop(self) -> dict[str, Any]:
        """Stop sending, wait for the answers that are out, and return the summary.

        Raises `RuntimeError` if the client ended without one.
        """
        if self._process is None:
            return self.summary
        process, self._process = self._process, None
        process.terminate()
        try:
            text, _ = process.communicate(timeout=self._timeout + 5)
        except subprocess.TimeoutExpired:
            process.kill()
            text, _ = process.communicate()
        if process.returncode != 0:
            raise RuntimeError(f"the load client ended with exit code {process.returncode} and no summary")
        self.summary = json.loads(text)
        return self.summary

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()


async def load(plan: Plan, token: str, out: IO[str] | None = None) -> dict[str, Any]:
    """Run a plan and return its summary; SIGTERM and SIGINT end it early, and cleanly."""
    counts, stop = Counts(), asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    reporter = asyncio.create_task(_report(counts, out)) if out else None
    await Sender(plan, token, counts).run(stop)
    if reporter and out:
        reporter.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await reporter
        _write(counts, out)
    return counts.summary()


async def _report(counts: Counts, out: IO[str]) -> None:
    due = time.monotonic()
    while True:
        due += 1
        await asyncio.sleep(due - time.monotonic())
        _write(counts, out)


def _write(counts: Counts, out: IO[str]) -> None:
    out.write(json.dumps(counts.second()) + "\n")
    out.flush()


def main() -> None:
    """Read the arguments, send, and print the summary."""
    parser = argparse.ArgumentParser(description="Send requests at a constant rate and count what comes back.")
    parser.add_argument("--url", required=True)
    parser.add_argument("--rate", type=float, default=50.0, help="requests per second")
    parser.add_argument("--seconds", type=float, help="how long to send; until SIGTERM if not given")
    parser.add_argument("--timeout", type=float, default=10.0, help="seconds until an answer counts as missing")
    parser.add_argument("--out", type=Path, help="file that gets one line of JSON per second")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    if not arguments.rate > 0:
        parser.error("--rate must be above 0")
    if not (token := os.environ.get(TOKEN_ENV)):
        parser.error(f"{TOKEN_ENV} is not set")
    plan = Plan(arguments.url, arguments.rate, arguments.seconds, arguments.timeout, arguments.seed)
    with arguments.out.open("w") if arguments.out else contextlib.nullcontext() as out:
        summary = asyncio.run(load(plan, token, out))
    sys.stdout.write(json.dumps(summary) + "\n")


if __name__ == "__main__":
    main()
