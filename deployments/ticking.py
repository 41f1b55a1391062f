"""What a person sees of a flow that runs in this process: a tick for each step, and how long the one at hand takes."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.text import Text

from deployments.output import console, masked, note
from tasks.acting import LOG, Did
from tasks.domain.units import show_seconds

SIGNS = {"done": "✓", "failed": "✗"}


class _Ticks(logging.Handler):
    """Hears of each step by the log that it writes for its run in Prefect."""

    def emit(self, record: logging.LogRecord) -> None:
        """Show what a step has come to; what is no step is left to the log."""
        did = getattr(record, "did", None)
        if isinstance(did, Did):
            try:
                self.show(did)
            except Exception:  # noqa: BLE001 - a terminal that went away does not end a release
                LOG.removeHandler(self)

    def show(self, did: Did) -> None:
        """Print a line for a step that has ended."""
        if did.event in SIGNS:
            note(_line(did))


class _OnScreen(_Ticks):
    """Draws the steps at hand below those that have ended, and how far the release is."""

    def __init__(self, progress: Progress, phases: Sequence[str]) -> None:
        super().__init__()
        self._progress, self._phases = progress, phases
        self._whole = progress.add_task("", total=len(phases), visible=False) if phases else None
        self._at_hand: dict[tuple[str, str], TaskID] = {}
        self._alone = threading.Lock()

    def show(self, did: Did) -> None:
        """Draw a step that begins, and print a line in place of one that has ended."""
        with self._alone:
            if self._whole is not None and did.phase in self._phases:
                behind = self._phases.index(did.phase)
                words = f"{did.phase}, {behind} of {len(self._phases)} phases done"
                self._progress.update(self._whole, completed=behind, description=words, visible=True)
            key = (did.phase, did.step)
            if did.event == "started":
                self._at_hand[key] = self._progress.add_task(masked(f"{did.phase}: {did.step}"), total=None)
                return
            if (drawn := self._at_hand.pop(key, None)) is not None:
                self._progress.remove_task(drawn)
            self._progress.console.print(Text(_line(did), style="" if did.event == "done" else "red"), soft_wrap=True)


def _line(did: Did) -> str:
    return masked(f"{SIGNS[did.event]} {did.phase}: {did.step} ({show_seconds(did.took)})")


@contextmanager
def ticking(phases: Sequence[str] = ()) -> Iterator[None]:
    """Show the steps of the block on stderr: on a terminal as they run, else a line for each that has ended."""
    screen = console(stderr=True)
    if not screen.is_terminal:
        with _heard(_Ticks()):
            yield
        return
    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), BarColumn(20), TimeElapsedColumn())
    progress = Progress(*columns, console=screen, transient=True, refresh_per_second=4)
    with progress, _heard(_OnScreen(progress, phases)):
        yield


@contextmanager
def _heard(handler: _Ticks) -> Iterator[None]:
    LOG.addHandler(handler)
    try:
        yield
    finally:
        LOG.removeHandler(handler)
