"""Faults on a switch, so that a release that goes wrong can be rehearsed."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass
class Faults:
    """Fails a share of the API's requests, or slows all of them, once ``after`` seconds have passed since the first."""

    share: float = 0.0
    after: float = 0.0
    delay: float = 0.0
    seed: int = 1
    now: Callable[[], float] = time.monotonic
    _first: float | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)

    @classmethod
    def from_environment(cls, share: float = 0.0, after: float = 0.0) -> Faults:
        """Return the faults that FAIL_SHARE, FAIL_AFTER, FAIL_DELAY and FAIL_SEED ask for, else those given."""
        env = os.environ
        return cls(
            share=float(env.get("FAIL_SHARE", share)),
            after=float(env.get("FAIL_AFTER", after)),
            delay=float(env.get("FAIL_DELAY", 0)),
            seed=int(env.get("FAIL_SEED", 1)),
        )

    def next(self) -> tuple[float, bool]:
        """Return by how many seconds the next request is slowed, and whether it fails."""
        now = self.now()
        if self._first is None:
            self._first = now
        if now - self._first < self.after:
            return 0.0, False
        return self.delay, self.share > 0 and self._random.random() < self.share
