"""What a load client counts: requests, failures and latencies, by second and by version."""

from __future__ import annotations

import math
import time
from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any


@dataclass(frozen=True)
class Answer:
    """One answer: ``latency`` in seconds since it was due, the version that gave it, and why it failed, if it did."""

    latency: float
    version: str
    reason: str
    kind: str


def percentiles(latencies: Sequence[float]) -> dict[str, float | None]:
    """Return the 50th, 95th and 99th percentile and the maximum in milliseconds; None where nothing was answered."""
    ordered = sorted(latencies)

    def at(share: float) -> float | None:
        return round(ordered[math.ceil(share * len(ordered)) - 1] * 1000, 1) if ordered else None

    return {"p50_ms": at(0.5), "p95_ms": at(0.95), "p99_ms": at(0.99), "max_ms": at(1.0)}


@dataclass
class _Tally:
    """Counts over some time; latencies are those of the good answers."""

    sent: int = 0
    late: int = 0
    ok: int = 0
    failed: int = 0
    latencies: array[float] = field(default_factory=lambda: array("f"))

    def add(self, answer: Answer) -> None:
        if answer.reason:
            self.failed += 1
        else:
            self.ok += 1
            self.latencies.append(answer.latency)

    def numbers(self) -> dict[str, int]:
        return {"sent": self.sent, "ok": self.ok, "failed": self.failed, "late": self.late}


class Counts:
    """Counts all that is sent and answered; once nothing is out any more, sent = ok + failed."""

    def __init__(self) -> None:
        self._start = time.monotonic()
        self._seconds = 0
        self._total, self._now = _Tally(), _Tally()
        self._versions: dict[str, _Tally] = {}
        self._versions_now: dict[str, _Tally] = {}
        self._reasons: Counter[str] = Counter()
        self._reasons_now: Counter[str] = Counter()
        self._failed_at: list[str] = []

    def sent(self, *, late: bool) -> None:
        """Count a request that has just been sent."""
        for tally in (self._total, self._now):
            tally.sent += 1
            tally.late += late

    def answered(self, answer: Answer) -> None:
        """Count an answer, or that there was none."""
        for tally in (self._total, self._now):
            tally.add(answer)
        for versions in (self._versions, self._versions_now):
            versions.setdefault(answer.version, _Tally()).add(answer)
        if answer.reason:
            reason = f"{answer.kind}: {answer.reason}"
            self._reasons[reason] += 1
            self._reasons_now[reason] += 1
            self._failed_at = [*self._failed_at[:1], _now()]

    def second(self) -> dict[str, Any]:
        """Return what was sent and answered since the last call, with the totals so far, and begin anew."""
        self._seconds += 1
        line = {
            "second": self._seconds,
            "at": _now(),
            **self._now.numbers(),
            **percentiles(self._now.latencies),
            "in_flight": self._total.sent - self._total.ok - self._total.failed,
            "versions": _by_version(self._versions_now),
            "reasons": dict(self._reasons_now),
            "total": self._total.numbers(),
        }
        self._now, self._versions_now, self._reasons_now = _Tally(), {}, Counter()
        return line

    def summary(self) -> dict[str, Any]:
        """Return the totals, with the times of the first and the last failure."""
        return {
            "seconds": round(time.monotonic() - self._start, 1),
            **self._total.numbers(),
            **percentiles(self._total.latencies),
            "versions": _by_version(self._versions),
            "reasons": dict(self._reasons),
            "first_failure": self._failed_at[0] if self._failed_at else None,
            "last_failure": self._failed_at[-1] if self._failed_at else None,
        }


def _by_version(versions: Mapping[str, _Tally]) -> dict[str, Any]:
    return {
        name: {"ok": tally.ok, "failed": tally.failed, **percentiles(tally.latencies)}
        for name, tally in sorted(versions.items())
    }


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
