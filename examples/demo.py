"""The main job from end to end on one machine: ``make demo``.

A stand-in of glad-labs serves under constant load on an embedded PostgreSQL. It goes from v1 to v2 and is found stable;
then it goes to v3, which fails under watch and is rolled back by itself. Everything runs below a temporary directory on
free ports of 127.0.0.1 and is ended and removed at the end, also after Ctrl-C. The reports stay.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from rich.console import Console

from deployments.server import LocalServer, use
from examples import demo_screen
from examples.client import LoadClient
from examples.demo_account import account
from examples.demo_system import DemoSystem
from examples.slack_server import TOKEN as SLACK_TOKEN
from examples.slack_server import fake_slack
from tasks.adapters.pg_server import EmbeddedServer
from tasks.domain.errors import GoliveError
from tasks.ledger.ledger import Ledger

HOUR = 0.9
"""Seconds that stand for an hour of the watch."""
RATE = 40.0
"""Requests per second of the client."""
REPORTS = Path("var") / "demo"


class DemoFailedError(Exception):
    """The demo did not show what it is there to show."""


@dataclass
class Demo:
    """What the demo has come to so far."""

    console: Console
    home: Path
    system: DemoSystem


def main() -> int:
    """Run the demo and return its exit code."""
    console = Console(highlight=False)
    signal.signal(signal.SIGTERM, _interrupt)
    home = Path(tempfile.mkdtemp(prefix="golive-demo-"))
    home.chmod(0o755)  # as root, PostgreSQL runs under another account
    began = time.monotonic()
    try:
        with ExitStack() as stack:
            stack.callback(shutil.rmtree, home, ignore_errors=True)
            demo = _set_up(console, home, stack)
            _run(demo, stack)
    except KeyboardInterrupt:
        console.print("\n[yellow]stopped; everything that was started has been ended[/]")
        return 130
    except (GoliveError, DemoFailedError) as error:
        console.print(f"\n[bold red]the demo failed[/] after {time.monotonic() - began:.0f} s: {error}")
        return 1
    console.print(f"[dim]{time.monotonic() - began:.0f} s in all; everything that was started has been ended[/]")
    return 0


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _set_up(console: Console, home: Path, stack: ExitStack) -> Demo:
    """Start the parts at the same time: Prefect's server, production's PostgreSQL with its data, the chat."""
    began = time.monotonic()
    console.rule("[bold]golive demo")
    console.print(
        "glad-labs, a FastAPI service on PostgreSQL, goes v1 → v2 → v3 under load. An hour of the watch is shown as "
        f"{HOUR:g} s; everything else takes the time that it takes."
    )
    console.print(f"[dim]working below {home}[/]\n", soft_wrap=True)
    os.environ.update(GOLIVE_HOME=str(home / "golive"), GOLIVE_SYSTEMS=str(home / "systems"))
    # There is nothing in the demo that its server would have to keep from others, so it asks for no password.
    for name in ("GOLIVE_LEDGER_URL", "PREFECT_SERVER_API_AUTH_STRING", "PREFECT_API_AUTH_STRING"):
        os.environ.pop(name, None)
    # A failure is told in the last lines; Prefect would tell it with four tracebacks before.
    os.environ["PREFECT_LOGGING_LEVEL"] = "CRITICAL"
    slack = stack.enter_context(fake_slack())
    ledger = EmbeddedServer(home / "golive" / "ledger")
    production = EmbeddedServer(home / "production")
    (home / "golive").mkdir()
    with console.status("starting PostgreSQL, Prefect and version 1 …"), ThreadPoolExecutor(4) as at_once:
        port = demo_screen.free_port()
        server = LocalServer(home / "prefect", port)
        stack.callback(server.stop)
        use(server)
        starting = at_once.submit(server.start)
        stack.callback(ledger.stop)
        stack.callback(production.stop)
        made_ledger = at_once.submit(ledger.ensure_running)
        system = at_once.submit(DemoSystem.make, home, production, slack.base_url, SLACK_TOKEN, HOUR).result()
        os.environ.update(system.environment)
        made_ledger.result()
        starting.result()
        import flows.release  # noqa: F401 - takes seconds, which pass while the server starts

        server.wait()
    demo = Demo(console, home, system)
    stack.callback(system.end)
    stack.callback(system.end_guard, home / "golive")
    console.print(f"[bold green]✓[/] set up [dim]{time.monotonic() - began:.1f} s[/]")
    console.print(f"the Prefect UI, while the demo runs: [link={server.ui}]{server.ui}[/]\n")
    return demo


def _run(demo: Demo, stack: ExitStack) -> None:
    from flows.deploy import deploy
    from tasks.context import ledger
    from tasks.settings import Settings

    settings = Settings.from_environment()
    book = ledger(settings)
    stack.callback(book.close)
    screen = stack.enter_context(demo_screen.Screen(demo.console, book))
    with screen.act("v1 is deployed for the first time"):
        asyncio.run(deploy("glad-labs", "v1", "demo"))
    with _client(demo, "first") as client, screen.load(client):
        good = _release(screen, "v2", "the audit trail")
        _watch(screen, good)
    summary = client.summary
    with _client(demo, "second") as other, screen.load(other):
        bad = _release(screen, "v3", "a change that turns out to be bad")
        _watch(screen, bad)
    serving = demo.system.serving_version()
    screen.close()
    kept = _keep_reports([good, bad])
    demo_screen.closing(demo.console, book, [good, bad], summary, other.summary, kept)
    demo.console.print(f"Prefect: {account(os.environ['PREFECT_API_URL'])}")
    _require(book, good, bad, summary["failed"], serving)


def _release(screen: demo_screen.Screen, version: str, reason: str) -> str:
    from flows.release import release
    from tasks.context import ledger
    from tasks.settings import Settings

    with screen.act(f"{version} is released: {reason}"):
        asyncio.run(release("glad-labs", version, reason, "demo"))
    return str(ledger(Settings.from_environment()).releases.latest("glad-labs", 1)[0].id)


def _watch(screen: demo_screen.Screen, release_id: str) -> None:
    """Let the monitor look every "hour", as its schedule does, until the watch has ended one way or the other."""
    from flows.monitor import monitor
    from tasks.context import ledger
    from tasks.domain.release import State
    from tasks.settings import Settings

    book = ledger(Settings.from_environment())
    under_way = {State.WATCHING, State.ROLLING_BACK}
    deadline = time.monotonic() + 90
    with screen.act("24 hours pass under watch"):
        while State(book.releases.get(release_id).state) in under_way:
            if time.monotonic() > deadline:
                raise DemoFailedError(f"the watch of {release_id} did not end within 90 s")
            next_look = time.monotonic() + HOUR
            asyncio.run(monitor())
            time.sleep(max(0.0, next_look - time.monotonic()))


@contextmanager
def _client(demo: Demo, name: str) -> Iterator[LoadClient]:
    out = demo.home / f"client-{name}.jsonl"
    with LoadClient(demo.system.base_url, RATE, demo.system.token, out=out) as client:
        yield client


def _keep_reports(releases: list[str]) -> list[Path]:
    from tasks.report import write_report

    REPORTS.mkdir(parents=True, exist_ok=True)
    kept = []
    for release in releases:
        path = REPORTS / f"{release}.html"
        shutil.copyfile(write_report(release), path)
        kept.append(path)
    return kept


def _require(book: Ledger, good: str, bad: str, failed: int, serving: str) -> None:
    states = {one: book.releases.get(one).state for one in (good, bad)}
    if states[good] != "stable":
        raise DemoFailedError(f"{good} is {states[good]}, expected stable")
    if states[bad] != "rolled_back":
        raise DemoFailedError(f"{bad} is {states[bad]}, expected rolled_back")
    if failed:
        raise DemoFailedError(f"{failed} requests failed from v1 to v2, expected none")
    if serving != "v2":
        raise DemoFailedError(f"{serving} serves at the end, expected v2")


if __name__ == "__main__":
    code = main()
    with suppress(BrokenPipeError):
        sys.stdout.flush()
    sys.exit(code)
