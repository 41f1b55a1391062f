from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from random import Random
from typing import Literal

import pytest

from examples.slack_server import TOKEN, FakeSlack, fake_slack
from tasks.adapters.clock import SystemClock
from tasks.adapters.secrets import SecretStore
from tasks.courier import TRIES, Courier, running
from tasks.domain.messages import Note
from tasks.domain.release import State
from tasks.ledger.ledger import Ledger
from tasks.ledger.releases import Opening
from tasks.notifiers import Message, Notifier, Outlets
from tasks.notifiers.console import Console
from tasks.notifiers.slack import Slack

ROOT = Path(__file__).parents[2]
OPS = "slack:#ops"


@pytest.fixture
def slack() -> Iterator[FakeSlack]:
    with fake_slack() as server:
        yield server


@pytest.fixture
def ledger(database: str) -> Iterator[Ledger]:
    opened = Ledger(database)
    yield opened
    opened.close()


def open_release(ledger: Ledger, release_id: str = "ordinaut-1", *, mutates: bool = True) -> None:
    opening = Opening(release_id, "ordinaut", "2.1.0", "release", mutates, "ana", "", "release.yaml", "")
    ledger.releases.open(opening)
    ledger.releases.tell(release_id, Note("root", f"root of {release_id}", {}))


def tell(ledger: Ledger, count: int, release_id: str = "ordinaut-1") -> None:
    for number in range(count):
        ledger.releases.tell(release_id, Note("reply", f"reply {number}", {}))


def courier_of(
    ledger: Ledger, *notifiers: Notifier, lines: list[str] | None = None, clock: SystemClock | None = None
) -> Courier:
    write = (lines if lines is not None else []).append
    secrets = SecretStore({"SLACK_BOT_TOKEN": TOKEN})
    return Courier(ledger, notifiers, secrets, clock or SystemClock(), write, system="ordinaut")


def ops(base_url: str) -> Slack:
    return Slack(channel="#ops", base_url=base_url, timeout=1.0)


def until(condition: Callable[[], bool], within: float = 20.0) -> None:
    ends = time.monotonic() + within
    while not condition():
        assert time.monotonic() < ends, "it did not come to pass in time"
        time.sleep(0.02)


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    begun = time.monotonic()
    yield
    assert time.monotonic() - begun < seconds


def whole_thread(slack: FakeSlack, count: int) -> None:
    (root,) = slack.roots()
    assert [one["text"] for one in slack.thread(root["ts"])] == [f"reply {number}" for number in range(count)]
    assert len(set(slack.keys())) == len(slack.messages) == count + 1


def test_while_slack_is_down_a_flush_returns_at_once_and_all_is_delivered_once_it_is_back(ledger: Ledger) -> None:
    with fake_slack() as gone:
        base_url = gone.base_url
    open_release(ledger)
    tell(ledger, 6)
    courier = courier_of(ledger, ops(base_url))
    for _ in range(4):
        with at_most(2):
            assert courier.flush(5) == 0
    with fake_slack(port=int(base_url.split(":")[2].split("/")[0])) as back:
        until(lambda: courier.flush(5) > 0 or len(back.messages) == 7)
        whole_thread(back, 6)
    assert ledger.outbox.dead_letters() == []


@pytest.mark.parametrize("fault", ["trouble", "drop_first", "fatal_error"])
def test_a_slack_in_trouble_loses_nothing_and_doubles_nothing(ledger: Ledger, slack: FakeSlack, fault: str) -> None:
    open_release(ledger)
    tell(ledger, 4)
    slack.fail("chat.postMessage", fault, times=2)
    with running(courier_of(ledger, ops(slack.base_url)), every=0.05):
        until(lambda: len(slack.messages) == 5)
    whole_thread(slack, 4)


def test_a_full_slack_is_left_alone_as_long_as_it_asks_and_holds_up_nobody_else(
    ledger: Ledger, slack: FakeSlack
) -> None:
    open_release(ledger)
    tell(ledger, 2)
    slack.fail("chat.postMessage", "limit", seconds=2)
    lines: list[str] = []
    with running(courier_of(ledger, ops(slack.base_url), Console(), lines=lines), every=0.05):
        until(lambda: len(lines) == 3, within=1.5)
        until(lambda: len(slack.messages) == 3)
    posts = [at for at, method in slack.times if method == "chat.postMessage"]
    assert posts[1] - posts[0] >= 2.0
    assert len(posts) == 4
    whole_thread(slack, 2)


def test_a_slow_slack_holds_up_neither_a_release_nor_its_end(ledger: Ledger, slack: FakeSlack) -> None:
    open_release(ledger)
    slack.fail("chat.postMessage", "slow", times=50, seconds=8)
    with at_most(5.5), running(courier_of(ledger, ops(slack.base_url)), every=0.05, at_exit=2):
        until(lambda: slack.calls["chat.postMessage"] > 0)
        claim = ledger.releases.take("ordinaut-1", "me")
        with at_most(1):
            ledger.releases.move(claim, State.PLANNED, State.PREFLIGHT, tell=[Note("reply", "planned → preflight", {})])
    waiting = [row.id for row in ledger.outbox.messages("ordinaut-1")]
    assert len(waiting) == 2
    assert [ledger.outbox.sending(number, OPS) for number in waiting] == [1, 0]
    assert ledger.outbox.dead_letters() == []


def test_a_message_that_slack_takes_after_golive_stopped_waiting_is_not_sent_again(
    ledger: Ledger, slack: FakeSlack
) -> None:
    open_release(ledger)
    tell(ledger, 1)
    slack.fail("chat.postMessage", "slow", seconds=2.5)
    courier = courier_of(ledger, ops(slack.base_url))
    with running(courier, every=0.1):
        until(lambda: len(slack.messages) == 2, within=30)
    whole_thread(slack, 1)


def test_one_release_in_trouble_does_not_keep_the_others_waiting(ledger: Ledger, slack: FakeSlack) -> None:
    open_release(ledger, "ordinaut-1", mutates=False)
    open_release(ledger, "ordinaut-2", mutates=False)
    first = ledger.outbox.messages("ordinaut-1")[0]
    ledger.outbox.retry(first.id, OPS, "the server said no", 600)
    assert courier_of(ledger, ops(slack.base_url)).flush(5) == 1
    assert [one["text"] for one in slack.messages] == ["root of ordinaut-2"]


def test_what_may_still_arrive_is_asked_for_later_and_holds_up_no_other_release(
    ledger: Ledger, slack: FakeSlack
) -> None:
    open_release(ledger, "ordinaut-1", mutates=False)
    open_release(ledger, "ordinaut-2", mutates=False)
    (first,) = ledger.outbox.messages("ordinaut-1")
    ledger.outbox.sending(first.id, OPS, 600)  # by a process that was killed then
    courier = courier_of(ledger, ops(slack.base_url))
    assert courier.flush(5) == 1
    assert [one["text"] for one in slack.messages] == ["root of ordinaut-2"]
    assert courier.waits()


def test_a_try_whose_end_is_on_record_is_repeated_when_that_says(ledger: Ledger, slack: FakeSlack) -> None:
    open_release(ledger)
    (root,) = ledger.outbox.messages("ordinaut-1")
    ledger.outbox.sending(root.id, OPS, 600)
    ledger.outbox.retry(root.id, OPS, "HTTP 503", 0)
    assert courier_of(ledger, ops(slack.base_url)).flush(5) == 1
    whole_thread(slack, 0)


def test_a_ledger_that_does_not_answer_is_said_once_and_hurts_nobody(slack: FakeSlack) -> None:
    ledger = Ledger("postgresql://nobody:hunter22@127.0.0.1:1/none")
    lines: list[str] = []
    courier = courier_of(ledger, ops(slack.base_url), lines=lines)
    with running(courier, every=0.02, at_exit=1):
        until(lambda: len(lines) > 0)
        assert courier.flush(1) == 0
    ledger.close()
    assert len(lines) == 1
    assert "the ledger does not answer" in lines[0]
    assert "hunter22" not in lines[0]


class Broken(Notifier):
    kind: Literal["broken"] = "broken"

    def deliver(self, message: Message, outlets: Outlets) -> Mapping[str, str]:
        raise KeyError(f"a mistake with {message} and {outlets}")


def test_a_mistake_in_a_notifier_stays_in_the_courier(ledger: Ledger, slack: FakeSlack) -> None:
    open_release(ledger)
    courier = courier_of(ledger, Broken(kind="broken"), ops(slack.base_url))
    assert courier.flush(5) == 1
    assert ledger.outbox.tries(ledger.outbox.messages("ordinaut-1")[0].id, "broken") == 1


@pytest.mark.parametrize("error", [ValueError("I/O operation on closed file"), RuntimeError("no run"), OSError()])
def test_a_console_that_cannot_be_written_does_not_stop_the_others(
    ledger: Ledger, slack: FakeSlack, error: Exception
) -> None:
    def closed(_line: str) -> None:
        raise error

    open_release(ledger)
    secrets = SecretStore({"SLACK_BOT_TOKEN": TOKEN})
    both = [Console(), ops(slack.base_url)]
    assert Courier(ledger, both, secrets, SystemClock(), closed, system="ordinaut").flush(5) == 1
    assert len(slack.messages) == 1


class Tomorrow(SystemClock):
    def now(self) -> datetime:
        return super().now() + timedelta(hours=25)


def test_a_message_is_given_up_after_many_tries_and_a_day_and_not_before(ledger: Ledger, slack: FakeSlack) -> None:
    open_release(ledger)
    (root,) = ledger.outbox.messages("ordinaut-1")
    for _ in range(TRIES - 1):
        ledger.outbox.retry(root.id, OPS, "HTTP 503", 0)
    slack.fail("chat.postMessage", "trouble", times=2)
    slack.fail("conversations.history", "trouble", times=2)
    lines: list[str] = []
    courier_of(ledger, ops(slack.base_url), lines=lines).flush(5)
    assert ledger.outbox.tries(root.id, OPS) == TRIES
    assert not lines
    open_release(ledger, "ordinaut-2", mutates=False)
    (other,) = ledger.outbox.messages("ordinaut-2")
    for _ in range(TRIES - 1):
        ledger.outbox.retry(other.id, OPS, "HTTP 503", 0)
    courier_of(ledger, ops(slack.base_url), lines=lines, clock=Tomorrow()).flush(5)
    assert [message.id for message, _delivery in ledger.outbox.dead_letters()] == [other.id]
    assert lines[-1].endswith("[ordinaut-2] root of ordinaut-2")


_PROCESS = """
import os
from tasks.adapters.clock import SystemClock
from tasks.adapters.secrets import SecretStore
from tasks.courier import Courier
from tasks.ledger.ledger import Ledger
from tasks.notifiers.slack import Slack

ledger = Ledger(os.environ["TEST_DSN"])
slack = Slack(channel="#ops", base_url=os.environ["TEST_SLACK"])
settles = float(os.environ["TEST_SETTLES"])
courier = Courier(ledger, [slack], SecretStore(), SystemClock(), print, system="ordinaut", lease=1.0, settles=settles)
courier.flush(30)
"""


def flushing(database: str, slack: FakeSlack, settles: float = 0.2) -> subprocess.Popen[bytes]:
    names = {
        "TEST_SETTLES": f"{settles}",
        "TEST_DSN": database,
        "TEST_SLACK": slack.base_url,
        "SLACK_BOT_TOKEN": TOKEN,
        "PYTHONPATH": str(ROOT),
    }
    return subprocess.Popen([sys.executable, "-c", _PROCESS], env={**os.environ, **names}, cwd=ROOT)


def test_a_process_killed_while_it_delivers_loses_nothing_and_doubles_nothing(
    ledger: Ledger, slack: FakeSlack, database: str
) -> None:
    open_release(ledger)
    tell(ledger, 12)
    random = Random(20261122)
    for round_ in range(6):
        slack.took.clear()
        if round_ % 2 == 0:
            slack.fail("chat.postMessage", "hang", seconds=5)
        process = flushing(database, slack)
        assert slack.took.wait(20)
        time.sleep(random.uniform(0, 0.02))
        os.kill(process.pid, signal.SIGKILL)
        assert process.wait(10) == -signal.SIGKILL
        slack.heal()
        time.sleep(1.1)  # the killed process's lease, and the time in which its request may still arrive
    left = flushing(database, slack)
    assert left.wait(60) == 0
    assert ledger.outbox.due(OPS) == []
    assert slack.calls["conversations.replies"] + slack.calls["conversations.history"] >= 3
    whole_thread(slack, 12)


def test_a_request_of_a_killed_process_that_slack_takes_late_is_not_sent_again(
    ledger: Ledger, slack: FakeSlack, database: str
) -> None:
    open_release(ledger)
    tell(ledger, 1)
    slack.fail("chat.postMessage", "slow", seconds=2)
    process = flushing(database, slack, settles=5)
    until(lambda: slack.calls["chat.postMessage"] > 0)
    asked = time.monotonic()
    os.kill(process.pid, signal.SIGKILL)
    process.wait(10)
    # The lease of the killed process ends before Slack takes its request; what is on record of that holds longer.
    secrets = SecretStore({"SLACK_BOT_TOKEN": TOKEN})
    took_over = Courier(ledger, [ops(slack.base_url)], secrets, SystemClock(), print, system="ordinaut")
    with running(took_over, every=0.1):
        until(lambda: not took_over.waits(), within=40)
    time.sleep(max(0.0, asked + 3 - time.monotonic()))  # by then Slack has taken what it was slow with
    whole_thread(slack, 1)
