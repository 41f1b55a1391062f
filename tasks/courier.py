"""Takes messages from the ledger to people, beside the work: nothing ever waits for it, and nothing is lost."""

from __future__ import annotations

import math
import os
import secrets as random_names
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import copy_context
from datetime import timedelta
from enum import Enum
from random import SystemRandom
from typing import Any

from tasks.adapters.http import HttpxHttp
from tasks.adapters.mail import Smtp
from tasks.domain.errors import ConnectionLost, GoliveError, OutsideError, ServerTrouble, TimedOut
from tasks.domain.messages import files_of, parts_of
from tasks.domain.ports import ChatApi, Clock, Http, HttpAnswer, MailApi, MailServer, Secrets
from tasks.ledger.ledger import Ledger
from tasks.ledger.models import Message as Row
from tasks.ledger.outbox import LEFT_OUT
from tasks.notifiers import Message, Notifier
from tasks.notifiers.console import Console

TRIES = 20
KEEP_TRYING = timedelta(hours=24)
"""A message is given up after so many tries and not before so long, so that an outage of a night loses nothing."""

_LONGEST_PAUSE = 300.0
_SETTLES = 10.0
_LOST = 0.3  # of that, after a connection that the other side has closed
_LONGEST_ASKED = 3600.0  # of a Retry-After
_LEASE = 30.0
_JITTER = SystemRandom()


class Courier:
    """Delivers the messages of one system's releases through each of its notifiers, or to the console without any.

    Several processes may have one each for the same system: a lease lets one deliver at a time. ``lease`` is how many
    seconds the others wait after such a process was killed. For ``settles`` seconds after a try was given up, or its
    process killed, a slow server may still take the message: only then can asking for it tell, and until then it waits,
    and with it what comes after it in the same thread.
    """

    def __init__(
        self,
        ledger: Ledger,
        notifiers: Sequence[Notifier],
        secrets: Secrets,
        clock: Clock,
        write_line: Callable[[str], None],
        *,
        system: str,
        lease: float = _LEASE,
        settles: float = _SETTLES,
        http: Http | None = None,
    ) -> None:
        self._clock = clock
        http = http or HttpxHttp()
        first = [one for one in notifiers if one.tells_people and not one.last_resort]
        told = notifiers if first else (*notifiers, Console())
        given = {notifier.address: notifier for notifier in told}
        fallback = None if any(isinstance(one, Console) for one in given.values()) else Console()
        holder = f"{socket.gethostname()}/{os.getpid()}/{random_names.token_hex(4)}"
        self.routes = tuple(
            Route(
                ledger, system, notifier, Outlet(secrets, write_line, http), clock, fallback, holder, (lease, settles)
            )
            for notifier in given.values()
        )
        for route in self.routes:
            route.stands_in_for(first)

    def flush(self, limit_seconds: float) -> int:
        """Deliver what is due, as far as the time allows, and return how many messages went out. Raises nothing."""
        ends = self._clock.monotonic() + limit_seconds
        return sum(route.flush(ends) for route in self.routes)

    def waits(self) -> bool:
        """Tell whether anything is left to deliver, or that cannot be known now."""
        return any(route.waits() for route in self.routes)

    def wake(self) -> None:
        """Say that there is something to deliver, so that `running` does not wait for its next look."""
        for route in self.routes:
            route.woken.set()


@contextmanager
def running(courier: Courier, *, every: float = 1.0, at_exit: float = 5.0) -> Iterator[Courier]:
    """Deliver in the background while the block runs, looking each ``every`` seconds or when woken.

    At its end what is left gets ``at_exit`` seconds; what is left then stays in the ledger for the next process.
    """
    stop = threading.Event()
    # With the caller's context variables, by which the line that is written finds the run it belongs to.
    threads = [
        threading.Thread(
            target=copy_context().run, args=(route.run, stop, every), name=f"courier {route.name}", daemon=True
        )
        for route in courier.routes
    ]
    for thread in threads:
        thread.start()
    try:
        yield courier
    finally:
        ends = courier.routes[0].clock.monotonic() + at_exit
        for route in courier.routes:
            route.ends = ends
        stop.set()
        courier.wake()
        for thread in threads:
            thread.join(max(0.0, ends - courier.routes[0].clock.monotonic()))


class _Went(Enum):
    """What came of a try to deliver a message."""

    OUT = "out"
    LATER = "later"
    NEVER = "never"


class Outlet:
    """What the notifiers reach people through; ``within`` is how many seconds one delivery may still take."""

    def __init__(self, secrets: Secrets, write_line: Callable[[str], None], http: Http) -> None:
        self.secrets = secrets
        self._http = http
        self._write_line = write_line
        self.within = math.inf

    def chat(self, token: str, base_url: str, timeout: float) -> ChatApi:
        """Return a client of Slack's Web API."""
        from tasks.adapters.slack import SlackChat  # slack-sdk is for those alone who send something to Slack

        return SlackChat(token, base_url, timeout, self.within)

    def request(
        self, method: str, url: str, *, headers: Mapping[str, str], json: Any = None, timeout: float
    ) -> HttpAnswer:
        """Ask a service over HTTP and return its answer."""
        within = max(0.1, min(timeout, self.within))
        return self._http.request(method, url, headers=headers, json=json, timeout=within, fresh=True)

    def mail(self, server: MailServer) -> MailApi:
        """Return a client of a mail server."""
        return Smtp(server, self.within)

    def write_line(self, line: str) -> None:
        """Write a line for a person who looks on."""
        self._write_line(line)


class Route:
    """The way of messages through one notifier; ``ends`` is the monotonic time at which its thread must be done."""

    def __init__(
        self,
        ledger: Ledger,
        system: str,
        notifier: Notifier,
        outlet: Outlet,
        clock: Clock,
        fallback: Console | None,
        holder: str,
        seconds: tuple[float, float],
    ) -> None:
        self.name = notifier.address
        self.clock = clock
        self.woken = threading.Event()
        self.refused_by: tuple[str, ...] | None = None
        self.ends = math.inf
        self._outbox, self._leases = ledger.outbox, ledger.leases
        self._system, self._notifier, self._outlet, self._fallback = system, notifier, outlet, fallback
        self._holder, (self._lease, self._settles) = holder, seconds
        self._job = f"courier:{system}:{self.name}"
        self._silent_until = -math.inf
        self._said: set[str] = set()
        self._alone = threading.Lock()

    def stands_in_for(self, others: Sequence[Notifier]) -> None:
        """Let a last resort deliver only what one of these has given up."""
        if self._notifier.last_resort:
            self.refused_by = tuple(one.address for one in others)

    def run(self, stop: threading.Event, every: float) -> None:
        """Deliver until ``stop`` is set, and then what is left until ``ends``, even if another process is at it."""
        while not stop.is_set():
            self.woken.clear()
            self.flush(math.inf)
            self.woken.wait(every)
        self.flush(self.ends)
        while self.clock.monotonic() < self.ends and self._busy_elsewhere():
            self.clock.sleep(0.1)
            self.flush(self.ends)

    def flush(self, ends: float) -> int:
        """Deliver what is due until the monotonic time ``ends``, and return how many went out. Raises nothing."""
        if not self._alone.acquire(timeout=min(max(0.0, ends - self.clock.monotonic()), 60.0)):
            return 0
        try:
            return self._flush(min(ends, self.ends))
        except GoliveError as error:
            self._say_once(error.id, f"golive: messages wait in the ledger: {self._masked(str(error))}")
        except Exception as error:  # noqa: BLE001 - whatever goes wrong here, the release goes on
            self._say_once(type(error).__name__, f"golive: messages wait in the ledger: {type(error).__name__}")
        finally:
            self._alone.release()
        return 0

    def waits(self) -> bool:
        """Tell whether anything is left to deliver, or that cannot be known now."""
        try:
            return self._outbox.waits(self.name, self._system, self.refused_by)
        except GoliveError:
            return True

    def _flush(self, ends: float) -> int:
        if self.clock.monotonic() < self._silent_until or not self._due() or not self._hold():
            return 0
        try:
            return self._deliver_due(ends)
        finally:
            self._leases.give_back(self._job, self._holder)

    def _busy_elsewhere(self) -> bool:
        try:
            last = self._leases.seen(self._job)
            return last is not None and last[2] and last[0] != self._holder and bool(self._due())
        except GoliveError:
            return False

    def _due(self) -> Sequence[Row]:
        return self._outbox.due(self.name, system=self._system, refused_by=self.refused_by)

    def _hold(self) -> bool:
        return self._leases.take(self._job, self._holder, self._lease) is not None

    def _deliver_due(self, ends: float) -> int:
        """Deliver batch by batch, and stop at the first sign that the notifier is in trouble."""
        went = 0
        while batch := self._due():
            last_edit = {row.release_id: row.id for row in batch if row.kind == "root_edit"}
            for row in batch:
                # Renewed before each message, for another process may deliver once the lease has run out.
                if self.clock.monotonic() >= min(ends, self.ends) or not self._hold():
                    return went
                if not self._notifier.wants(row.kind):
                    self._outbox.delivered(row.id, self.name, {LEFT_OUT: True})
                    continue
                if row.kind == "root_edit" and row.id != last_edit[row.release_id]:
                    self._outbox.delivered(row.id, self.name, {"superseded": True})
                    continue
                match self._deliver(row, min(ends, self.ends)):
                    case _Went.OUT:
                        went += 1
                    case _Went.LATER:
                        return went
        return went

    def _deliver(self, row: Row, ends: float) -> _Went:
        self._outlet.within = min(0.8 * self._lease, ends - self.clock.monotonic())
        message = Message(
            key=f"{row.release_id}/{row.id}",
            release_id=row.release_id,
            kind=row.kind,
            text=self._masked(row.text),
            at=row.at,
            parts=tuple(self._masked(list(parts_of(row.blocks)))),
            state=str(row.blocks.get("state", "")),
            occasion=str(row.blocks.get("occasion", "")),
            root_ref=self._ref_of(row),
            # On record before it is sent, so that whoever goes on after a kill asks Slack instead of sending again,
            # and not before a request that was under way has arrived.
            maybe_sent=self._outbox.sending(row.id, self.name, self._outlet.within + self._settles) > 0,
            files=files_of(row.blocks),
        )
        try:
            ref = self._notifier.deliver(message, self._outlet)
        except GoliveError as error:
            return self._failed(row, message, error, again=error.retryable)
        except Exception as error:  # noqa: BLE001 - a mistake in one notifier must not keep the others waiting
            return self._failed(row, message, OutsideError(f"{type(error).__name__} in {self.name}"), again=True)
        self._outbox.delivered(row.id, self.name, ref)
        return _Went.OUT

    def _ref_of(self, row: Row) -> Mapping[str, Any]:
        """Return what the notifier gave back for the message that this one replaces, or stands beneath."""
        if row.kind == "request_edit":
            return self._outbox.request_ref(row.release_id, self.name, str(row.blocks.get("nonce", "")))
        return self._outbox.root_ref(row.release_id, self.name)

    def _failed(self, row: Row, message: Message, error: GoliveError, *, again: bool) -> _Went:
        tries = self._outbox.tries(row.id, self.name)
        said = self._masked(str(error))
        if not again or (tries + 1 >= TRIES and self.clock.now() - row.at >= KEEP_TRYING):
            self._show_instead(message, error.id, said)
            self._outbox.dead(row.id, self.name, said)
            return _Went.NEVER
        asked = error.retry_after if isinstance(error, ServerTrouble) else None
        if asked is None:
            pause = min(_LONGEST_PAUSE, 2.0 ** min(tries, 20)) * _JITTER.uniform(0.5, 1.0)
            pause = max(pause, self._settling(error))
        else:
            pause = min(asked, _LONGEST_ASKED) * _JITTER.uniform(1.0, 1.1)
            self._silent_until = self.clock.monotonic() + pause
        self._outbox.retry(row.id, self.name, said, pause)
        return _Went.LATER

    def _settling(self, error: GoliveError) -> float:
        """Return the seconds within which a message may still arrive after a try that ended so."""
        match error:
            case TimedOut():
                return self._settles
            case ConnectionLost():
                return _LOST * self._settles
        return 0.0

    def _show_instead(self, message: Message, error_id: str, said: str) -> None:
        if message.files:
            self._say_once("files", f"golive: {self.name} does not get plots, the reports have them: {said}")
            return
        self._say_once(
            error_id, f"golive: {self.name} does not get messages, they appear here and in the ledger: {said}"
        )
        if self._fallback is not None:
            with suppress(Exception):  # as in `_say_once`
                self._fallback.deliver(message, self._outlet)

    def _say_once(self, about: str, line: str) -> None:
        if about not in self._said:
            self._said.add(about)
            with suppress(Exception):  # a console that was closed, say; the ledger has it all
                self._outlet.write_line(line)

    def _masked(self, value: Any) -> Any:
        """Return the text, or what holds texts, with every secret hidden."""
        match value:
            case str():
                return self._outlet.secrets.mask(value)
            case Mapping():
                return {key: self._masked(one) for key, one in value.items()}
            case list():
                return [self._masked(one) for one in value]
            case _:
                return value
