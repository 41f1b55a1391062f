"""Ctrl-C: kept until a step boundary takes it, so that nothing on the way can lose it."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import FrameType

HINT = b"interrupted: no further step begins; Ctrl-C once more breaks off at once\n"


class Interrupts:
    """The interrupts that have come while flows run.

    asyncio's own handler cancels the flow once, at its next await. Prefect's engine drops such a cancellation where
    the run is already in its final state, and a release then went on as if nobody had asked it to stop.
    """

    def __init__(self) -> None:
        self.came = 0
        self._pending = False

    def handle(self, _signal: int, _frame: FrameType | None) -> None:
        """Remember the first interrupt; break off whatever runs at each further one."""
        self.came += 1
        if self.came > 1:
            self._pending = False
            raise KeyboardInterrupt("interrupted twice")
        self._pending = True
        # Not by print: the main thread may be in the middle of one.
        os.write(2, HINT)

    def take(self) -> None:
        """Raise `KeyboardInterrupt` if one came that has not been answered; from then on it is."""
        if self._pending:
            self._pending = False
            raise KeyboardInterrupt("interrupted by a person")


_CURRENT: ContextVar[Interrupts | None] = ContextVar("interrupts", default=None)


@contextmanager
def kept_interrupts() -> Iterator[Interrupts]:
    """Keep interrupts for the step boundaries of the block, and raise one at its end that no step has answered."""
    interrupts = Interrupts()
    before = signal.signal(signal.SIGINT, interrupts.handle)
    token = _CURRENT.set(interrupts)
    try:
        yield interrupts
    finally:
        _CURRENT.reset(token)
        signal.signal(signal.SIGINT, before)
    if interrupts.came:
        raise KeyboardInterrupt("interrupted when all was done")


def was_interrupted() -> bool:
    """Tell whether a person has asked this process to stop since its flow began."""
    current = _CURRENT.get()
    return current is not None and current.came > 0


def stop_if_interrupted() -> None:
    """Raise `KeyboardInterrupt` in the main thread if a person has asked to stop; other threads end what they do."""
    current = _CURRENT.get()
    if current is not None and threading.current_thread() is threading.main_thread():
        current.take()
