"""Brings Prefect up for golive (server, work pool, deployments, worker), connects a process to it, takes it down."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies

from deployments.environment import difference, named_in
from deployments.registering import ensure_pool, register_with, workers_of
from deployments.server import UP_WITHIN, LocalServer, http, local_server, password_file, use
from tasks.adapters.pg_server import EmbeddedServer
from tasks.context import part_of
from tasks.domain.errors import GoliveError, OutsideError, Refused, TimedOut, Unreachable
from tasks.domain.release import MUTATING, State
from tasks.ledger.ledger import Ledger
from tasks.ledger.models import Release
from tasks.ledger.part import GUARD
from tasks.ledger.releases import HOLDER_SILENT_AFTER
from tasks.settings import LEDGER_VARIABLE, Settings

WORKER_WITHIN = 90.0
"""Seconds within which the worker must have been heard of."""
_API = "PREFECT_API_URL"
_QUIET = "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL"


@dataclass(frozen=True)
class Up:
    """What is there once golive is up."""

    ui: str
    deployments: list[str]
    systems: list[str]
    password_file: Path
    """The file that holds what the UI asks for."""


def connect(settings: Settings, tell: Callable[[str], None], *, quiet: bool = True, within: float = UP_WITHIN) -> None:
    """Let this process use Prefect's API: the one of the environment, else this installation's own, started if need be.

    Must come before Prefect is imported. With ``quiet`` Prefect's tracebacks stay off the terminal; they are in its UI.
    Raises `Unreachable` if the server of the environment does not answer, and `TimedOut` if that of this installation
    does not ``within`` so many seconds; each may be used once it does.
    """
    if quiet:
        os.environ[_QUIET] = "CRITICAL"
    else:
        os.environ.pop(_QUIET, None)
    # What a worker tells the flow run that it starts is not meant for a run within that.
    for name in [name for name in os.environ if name.startswith("PREFECT__")]:
        del os.environ[name]
    os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    os.environ.update(settings.environment)
    if api := os.environ.get(_API):
        if (settings.home / "prefect" / "port").exists() and (own := local_server(settings)).api == api.rstrip("/"):
            use(own)
        _require_answer(api)
    else:
        server = local_server(settings)
        use(server)
        if not server.answers():
            tell(f"starting Prefect's server at {server.ui}; it stays up until golive down")
            server.start()
            server.wait(within)


def _require_answer(api: str) -> None:
    if getproxies() and urlsplit(api).hostname not in {"127.0.0.1", "localhost", "::1"}:
        return  # only Prefect's own client goes through a proxy
    try:
        http().request("GET", f"{api.rstrip('/')}/health")
    except OutsideError as error:
        raise Unreachable(
            f"Prefect's server does not answer: {error.seen}",
            where=f"{_API}={api}",
            do=f"start it, or unset {_API} to use golive's own",
        ) from error


def bring_up(settings: Settings, tell: Callable[[str], None]) -> Up:
    """Start server, ledger, worker, keeper and a guard if need be, register every deployment, return what is there.

    What is there already stays as it is, unless the secrets in its environment are others by now. Raises `Refused` if
    the environment points at another server.
    """
    server = local_server(settings)
    if (other := os.environ.get(_API)) and other.rstrip("/") != server.api:
        raise Refused(
            f"{_API} points at another server, {other}",
            expected="no such variable: golive up runs a server of its own",
            do="unset it; or use that server: golive register, then golive worker",
        )
    os.environ.update(settings.environment)
    use(server)
    _end_if_outdated(server, settings, tell)
    if not server.answers():
        tell(f"starting Prefect's server at {server.ui} …")
        server.start()
    if settings.ledger_url is None:
        EmbeddedServer(settings.home / "ledger").ensure_running()
    server.wait()
    ensure_pool(server, settings.pool)
    server.ensure("worker")
    registered = register_with(server, settings, tell)
    _await_worker(server)
    guard_again(settings, tell)
    _keep_guarded(server, tell)
    _listen_to_slack(server, settings, tell)
    return Up(server.ui, registered.deployments, registered.systems, password_file(settings))


def _end_if_outdated(server: LocalServer, settings: Settings, tell: Callable[[str], None]) -> None:
    """Stop server, worker and guard if secrets were set or changed since they were started, so that all get them."""
    own = {*server.environment, *settings.environment, LEDGER_VARIABLE}
    found = difference(server.home, os.environ, own, named_in(settings.systems))
    if not found.changed or not server.is_supervised():
        return
    changed, missing = ", ".join(found.changed), ", ".join(found.missing)
    if missing:
        tell(
            f"the worker keeps its environment: {changed} changed, but {missing} is not set here; set it and come again"
        )
        return
    book = running_ledger(settings)
    if book is not None:
        driven = _driven(book)
        if driven:
            book.close()
            tell(
                f"the worker keeps its environment while {driven[0].id} is driven, though {changed} changed; come again"
            )
            return
    tell(f"starting the worker anew, since this changed: {changed}")
    server.stop()
    if book is not None:
        # Last: the keeper would take its end for a death, and start another one in the old environment.
        _end_guard(book, tell)
        book.close()


def _keep_guarded(server: LocalServer, tell: Callable[[str], None]) -> None:
    """Start what keeps a guard alive without Prefect; a supervisor of an older golive does not know it."""
    try:
        server.ensure("keeper")
    except GoliveError as error:
        tell(f"a guard that dies is missed by Prefect alone: {error}; golive down and up mends that")


def _listen_to_slack(server: LocalServer, settings: Settings, tell: Callable[[str], None]) -> None:
    """Start what listens to Slack's buttons where a release file names an app; without it people sign elsewhere."""
    from tasks.listening import is_wanted  # takes seconds to import

    if not is_wanted(settings):
        return
    try:
        server.ensure("slack")
        tell(f"listening to Slack's buttons; its log: {server.home / 'slack.log'}")
    except GoliveError as error:
        tell(f"nobody listens to Slack's buttons: {error}; golive down and up starts it, or: golive slack")


def guard_again(settings: Settings, tell: Callable[[str], None]) -> None:
    """Start a guard if something is under watch and none is alive."""
    book = running_ledger(settings)
    if book is None:
        return
    try:
        if book.releases.in_state(*MUTATING):
            from tasks.guard import guardable, start_guard  # takes seconds to import

            if guardable(book):
                tell(f"guard: {start_guard(book)}")
    finally:
        book.close()


def _await_worker(server: LocalServer) -> None:
    deadline = time.monotonic() + WORKER_WITHIN
    while True:
        if any(one["status"] == "ONLINE" for one in workers_of(server, server.pool)):
            return
        if time.monotonic() > deadline:
            raise TimedOut(
                f"no worker of the pool {server.pool} was heard of in {WORKER_WITHIN:g} s",
                do=f"read {server.home / 'worker.log'}",
            )
        time.sleep(0.5)


def take_down(settings: Settings, tell: Callable[[str], None], *, keep_ledger: bool, force: bool) -> None:
    """Stop the worker, the server, the guard and the embedded ledger; what does not run is fine.

    Raises `Refused` while a process drives a release, unless ``force``.
    """
    book = running_ledger(settings)
    if book is not None:
        _refuse_while_driven(book, force=force)
    local_server(settings).stop()
    if book is not None:
        if watched := [row.id for row in book.releases.in_state(State.WATCHING)]:
            tell(f"nobody watches {', '.join(watched)} from now on, until golive up")
        if settings.ledger_url is None:
            _end_guard(book, tell)
        book.close()
    if not keep_ledger and settings.ledger_url is None:
        EmbeddedServer(settings.home / "ledger").stop()


def running_ledger(settings: Settings) -> Ledger | None:
    """Return the ledger if it answers, without starting it."""
    try:
        if settings.ledger_url is not None:
            book = Ledger(settings.ledger_url, part_of(settings))
        elif (settings.home / "ledger" / "data").exists():
            book = Ledger(EmbeddedServer(settings.home / "ledger").dsn("golive"), part_of(settings))
        else:
            return None
        book.ensure_ready()
    except GoliveError:
        return None
    return book


def _refuse_while_driven(book: Ledger, *, force: bool) -> None:
    driven = [] if force else _driven(book)
    if driven:
        raise Refused(
            f"{driven[0].id} is {driven[0].state}, driven by {driven[0].holder}",
            expected="no release on its way",
            do="wait for its end, or: golive down --force",
        )


def _driven(book: Ledger) -> list[Release]:
    """Return the releases that a process drives now."""
    now = book.evidence.now()
    return [
        row
        for row in book.releases.latest(limit=100)
        if row.ended_at is None and row.holder and row.holder_seen and now - row.holder_seen < HOLDER_SILENT_AFTER
    ]


def _end_guard(book: Ledger, tell: Callable[[str], None]) -> None:
    """End the guard that a release or the monitor has started, if it is a process of this machine."""
    seen = book.leases.seen(GUARD)
    if seen is None or not seen[2]:
        return
    host, pid, _name = seen[0].rsplit(":", 2)
    command = Path("/proc") / pid / "cmdline"
    if host != socket.gethostname() or not command.exists() or b"\0guard\0" not in command.read_bytes():
        tell(f"the guard {seen[0]} was left alone; it ends once nothing is under watch")
        return
    os.kill(int(pid), signal.SIGTERM)
