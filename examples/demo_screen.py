"""What the demo shows while it runs, and the table at its end."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from examples.client import LoadClient
from tasks.domain.release import State
from tasks.domain.units import show_seconds
from tasks.ledger.ledger import Ledger
from tasks.telling import phase_lines

REFRESH = 0.5
"""Seconds between two looks at the ledger."""
_STYLE = {"root": "bold", "root_edit": "dim", "alert": "bold yellow", "final": "bold", "reply": ""}
_SIGN = {"root": "●", "reply": "  ↳", "alert": "▲ ", "final": "■"}


def free_port() -> int:
    """Return a port of 127.0.0.1 that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Screen:
    """Follows the ledger: a live panel on a terminal, lines elsewhere; messages as they stand in the chat."""

    def __init__(self, console: Console, book: Ledger) -> None:
        self._console, self._book = console, book
        self._panel: RenderableType = Text("")
        self._live = Live(console=console, get_renderable=self._render, refresh_per_second=4, transient=True)
        self._doing, self._since = "", time.monotonic()
        self._client: LoadClient | None = None
        self._told = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="screen", daemon=True)

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Show the last messages and leave the terminal as it was."""
        if not self._ended.is_set():
            self._ended.set()
            self._thread.join(timeout=5)
            self._live.stop()

    @contextmanager
    def act(self, what: str) -> Iterator[None]:
        """Say what is going on until the block ends, and how long it took."""
        self._doing, self._since = what, time.monotonic()
        try:
            yield
        finally:
            took = show_seconds(time.monotonic() - self._since)
            self._console.print(f"[bold green]✓[/] {what} [dim]{took}[/]")
            self._doing = ""

    @contextmanager
    def load(self, client: LoadClient) -> Iterator[None]:
        """Show what a load client counts until the block ends."""
        self._client = client
        try:
            yield
        finally:
            self._client = None

    def _follow(self) -> None:
        while True:
            ended = self._ended.wait(REFRESH)
            self._tell()
            if ended:
                return
            self._panel = self._draw()

    def _tell(self) -> None:
        for release in reversed(self._book.releases.latest("glad-labs", 3)):
            for message in self._book.outbox.messages(release.id):
                if message.id > self._told and message.kind != "root_edit":
                    sign = _SIGN.get(message.kind, "·")
                    line = Text(f"#ops {sign} {message.text}", style=_STYLE.get(message.kind, ""))
                    self._console.print(line)
                self._told = max(self._told, message.id)

    def _draw(self) -> RenderableType:
        lines: list[RenderableType] = []
        if self._doing:
            waited = show_seconds(time.monotonic() - self._since)
            lines.append(Spinner("dots", Text.from_markup(f"[bold]{self._doing}[/] [dim]{waited}[/]")))
        releases = self._book.releases.latest("glad-labs", 1)
        if releases and releases[0].scope == "release":
            lines.append(Text(self._phases(releases[0].id, State(releases[0].state))))
        if self._client is not None:
            lines.append(Text(_counts(self._client)))
        return Panel(Group(*lines), title="golive", border_style="dim", padding=(0, 1))

    def _phases(self, release_id: str, state: State) -> str:
        marks = phase_lines(self._book.releases.moves(release_id), state)
        return "   ".join(f"{one.mark} {one.name}" for one in marks)

    def _render(self) -> RenderableType:
        return self._panel


def _counts(client: LoadClient) -> str:
    if client.out is None or not client.out.exists():
        return "load: starting"
    lines = client.out.read_text().splitlines()
    if not lines:
        return "load: starting"
    totals = json.loads(lines[-1])
    return f"load: {totals.get('total', totals)}"


def closing(
    console: Console,
    book: Ledger,
    releases: Sequence[str],
    good: Mapping[str, Any],
    bad: Mapping[str, Any],
    reports: Sequence[Path],
) -> None:
    """Print what came of both releases: phase, result, seconds; the client's counts; where the reports are."""
    for release_id in releases:
        release = book.releases.get(release_id)
        table = Table(title=f"{release.system} {release.previous_version} → {release.version}: {release.state}")
        table.add_column("phase")
        table.add_column("result")
        table.add_column("seconds", justify="right")
        for one in phase_lines(book.releases.moves(release_id), State(release.state)):
            table.add_row(one.name, str(one.mark), "" if one.took is None else f"{one.took:.1f}")
        console.print(table)
    console.print(f"v1 → v2: {good['sent']} requests sent, [bold]{good['failed']} failed[/]")
    console.print(f"v2 → v3 → v2: {bad['sent']} requests sent, {bad['failed']} failed (v3 fails 30 % on purpose)")
    for path in reports:
        console.print(f"report: {path}")
