"""Many messages through a Slack in trouble, by couriers that are killed: who was told, how often, in which order."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from examples.slack_server import TOKEN, FakeSlack
from tasks.adapters.postgres import Postgres
from tasks.domain.messages import Note
from tasks.ledger.ledger import Ledger
from tasks.ledger.releases import Opening

ROOT = Path(__file__).parents[1]
FAULTS = {"limit": 2, "trouble": 4, "hang": 1, "slow": 1, "drop": 6, "drop_first": 4, "internal_error": 2}
"""What goes wrong, and how often: 429, 503, taken and answered too late, taken too late, taken without an answer, not
taken, Slack's own trouble."""
SECONDS = {"limit": 1.0, "hang": 1.5, "slow": 1.5}
_UNDELIVERED = """
SELECT count(*) AS n FROM message m WHERE NOT EXISTS (
    SELECT 1 FROM delivery d WHERE d.message_id = m.id AND d.outcome IN ('delivered', 'dead'))
"""
_COURIER = """
import os, time
from tasks.adapters.clock import SystemClock
from tasks.adapters.secrets import SecretStore
from tasks.courier import Courier, running
from tasks.ledger.ledger import Ledger
from tasks.notifiers.slack import Slack

slack = Slack(channel="#ops", base_url=os.environ["TEST_SLACK"], timeout=1.0)
ledger = Ledger(os.environ["TEST_DSN"])
courier = Courier(ledger, [slack], SecretStore(), SystemClock(), print, system="shop", lease=1.0, settles=3.0)
with running(courier, every=0.05):
    while True:
        time.sleep(1)
"""


@dataclass
class Storm:
    """What is sent, and what goes wrong with it."""

    dsn: str = field(repr=False)
    slack: FakeSlack
    messages: int
    releases: int
    kills: int
    within: float
    seed: int = 20261123
    injected: Counter[str] = field(default_factory=Counter)

    def pass_over(self) -> float:
        """Send everything through the trouble, and return how many seconds it took; raises `TimeoutError`."""
        self._write()
        begun, random = time.monotonic(), Random(self.seed)
        with self._faults(random):
            for _ in range(self.kills):
                with self._courier() as process:
                    self._await_more(random.randint(1, max(2, self.messages // (2 * self.kills + 1))), begun)
                    time.sleep(random.uniform(0, 0.05))
                    os.kill(process.pid, signal.SIGKILL)
                    self.injected["kill"] += 1
            with self._courier():
                while self._undelivered():
                    self._check(begun)
                    time.sleep(0.2)
        return time.monotonic() - begun

    def losses(self) -> list[str]:
        """Return what is wrong with what arrived: lost, doubled, out of order, given up."""
        keys = Counter(self.slack.keys())
        ledger = Ledger(self.dsn)
        try:
            wrong = [f"given up: {message.text}" for message, _delivery in ledger.outbox.dead_letters()]
            for number in range(self.releases):
                rows = ledger.outbox.messages(f"shop-{number}")
                told = {f"shop-{number}/{row.id}": row.text for row in rows}
                wrong += [f"lost: {text}" for key, text in told.items() if not keys[key]]
                wrong += [f"doubled: {text}" for key, text in told.items() if keys[key] > 1]
                (root,) = [one for one in self.slack.roots() if one["text"] == rows[0].text] or [{"ts": ""}]
                arrived = [one["text"] for one in self.slack.thread(root["ts"])] if root["ts"] else []
                if arrived != [row.text for row in rows[1:]]:
                    wrong.append(f"out of order: {rows[0].text}")
        finally:
            ledger.close()
        return wrong

    def _write(self) -> None:
        ledger = Ledger(self.dsn)
        try:
            for number in range(self.releases):
                of = f"shop-{number}"
                ledger.releases.open(Opening(of, "shop", "v2", "release", False, "ann", "", "release.yaml", ""))
                ledger.releases.tell(of, Note("root", f"root of {of}.", {}))
            each = self.messages // self.releases - 1
            for number in range(self.releases):
                notes = [Note("reply", f"reply {at} of shop-{number}", {}) for at in range(each)]
                ledger.releases.tell(f"shop-{number}", *notes)
        finally:
            ledger.close()

    @contextmanager
    def _faults(self, random: Random) -> Iterator[None]:
        stop = threading.Event()

        def inject(method: str, most: int, seed: int) -> None:
            random, due = Random(seed), 2
            while not stop.wait(0.01):
                if self.slack.calls[method] >= due:
                    kind = random.choices(list(FAULTS), list(FAULTS.values()))[0]
                    self.slack.fail(method, kind, seconds=SECONDS.get(kind, 0.0))
                    self.injected[kind] += 1
                    due = self.slack.calls[method] + random.randint(2, most)

        threads = [
            threading.Thread(target=inject, args=(method, most, random.randrange(1000)), daemon=True)
            for method, most in (("chat.postMessage", 25), ("conversations.replies", 10), ("conversations.history", 10))
        ]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            stop.set()
            for thread in threads:
                thread.join(10)
            self.slack.heal()

    @contextmanager
    def _courier(self) -> Iterator[subprocess.Popen[bytes]]:
        given = {"TEST_DSN": self.dsn, "TEST_SLACK": self.slack.base_url, "SLACK_BOT_TOKEN": TOKEN}
        process = subprocess.Popen(
            [sys.executable, "-c", _COURIER], env={**os.environ, **given, "PYTHONPATH": str(ROOT)}, cwd=ROOT
        )
        try:
            yield process
        finally:
            process.kill()
            process.wait(30)

    def _await_more(self, count: int, begun: float) -> None:
        goal = min(self.messages, len(self.slack.messages) + count)
        while len(self.slack.messages) < goal:
            self._check(begun)
            time.sleep(0.01)

    def _undelivered(self) -> int:
        with Postgres().session(self.dsn) as session:
            return int(next(iter(session.query(_UNDELIVERED)))["n"])

    def _check(self, begun: float) -> None:
        if time.monotonic() - begun > self.within:
            raise TimeoutError(f"{len(self.slack.messages)} of {self.messages} after {self.within:g} s")
