"""What a judgement of probes rests on, as the ledger keeps it, so that it can be made again from the same probes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

from tasks.domain.outcome import Outcome
from tasks.domain.triggers import Probe

CONFIRMATIONS = 3
"""How many probes must all fail, just before acting, for an outage to count as still there."""
ERROR_CONFIRMATIONS = 10
"""Of how many probes one must fail, just before acting, for errors to count as still there."""


@dataclass(frozen=True)
class Basis:
    """Which probes were judged, and when: those since a moment, up to the ``last`` that had come in.

    ``probes`` is how many. One may come in later than others that began after it: the last is the newest to come in.
    """

    at: datetime
    since: datetime
    last: datetime | None
    probes: int

    def as_json(self) -> dict[str, Any]:
        """Return it in a form that JSON can hold."""
        last = self.last.isoformat() if self.last is not None else None
        return {"at": self.at.isoformat(), "since": self.since.isoformat(), "last": last, "probes": self.probes}

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Self:
        """Return what `as_json` wrote."""
        last = found.get("last")
        return cls(
            datetime.fromisoformat(found["at"]),
            datetime.fromisoformat(found["since"]),
            datetime.fromisoformat(last) if last else None,
            int(found["probes"]),
        )


def basis_of(probes: Sequence[Probe], at: datetime, since: datetime) -> Basis:
    """Return what a judgement of these probes rests on; they stand in the order in which they came in."""
    return Basis(at, since, probes[-1].at if probes else None, sum(since <= one.at <= at for one in probes))


def known_then(ticks: Sequence[Probe], basis: Basis) -> list[Probe]:
    """Return those of the probes on record, in the order in which they came in, that a judgement rested on."""
    come_in = [one.at for one in ticks]
    if basis.last is None:
        return []
    upto = come_in.index(basis.last) + 1 if basis.last in come_in else 0
    return [one for one in ticks[:upto] if basis.since <= one.at <= basis.at]


def _fails(probe: Probe) -> bool:
    return probe.clients is not None and probe.clients.traffic.failed > 0


def still_there(kind: str, taken: Sequence[Probe]) -> bool:
    """Tell whether a finding holds by the probes that were taken just before acting.

    An outage holds while nothing answers, errors while one of a burst of answers, or of what clients were answered
    meanwhile, is one. Other findings stand.
    """
    if kind == "down":
        return all(probe.counted is Outcome.FAILED for probe in taken)
    if kind == "errors":
        return any(probe.counted is Outcome.FAILED or _fails(probe) for probe in taken)
    return True
