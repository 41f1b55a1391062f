"""The gates at which people sign, and how one stands: who has signed for what was shown, and who is still missing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal, Protocol

from tasks.domain.release import State

Decision = Literal["approve", "reject", "waive"]

GO, LIVE, STABLE, CONTROLS, START = "go", "live", "stable", "watch", "start"
"""Before production is touched; once the new version serves; at the end of the watch. ``watch`` asks for no signature:
its request is what people act on meanwhile. ``start`` is the moment at which an announced release begins."""
GATE_PATTERN = r"^(go|live|stable|stage-[1-9][0-9]?)?$"
_STAGE = "stage-"


def of_stage(number: int) -> str:
    """Return the gate at the end of a later stage of the watch, counted from 0 here and from 1 in its name."""
    return f"{_STAGE}{number + 1}"


def state_of(gate: str) -> State:
    """Return the state in which a release waits at a gate."""
    if gate.startswith(_STAGE):
        return State.STABLE
    return {GO: State.AWAITING_GO, START: State.PLANNED}.get(gate, State.WATCHING)


class Signature(Protocol):
    """One decision of a person, for what was shown."""

    role: str
    person: str
    decision: str
    reason: str
    plan_hash: str
    at: datetime


@dataclass(frozen=True)
class Standing:
    """How a gate stands: ``missing`` says how many signatures each role still lacks, in the file's order."""

    wanted: Mapping[str, int]
    missing: Mapping[str, int]
    signed: tuple[Signature, ...] = field(default=())
    rejected: Signature | None = None

    @property
    def passed(self) -> bool:
        """Whether nobody's signature is missing and nobody has said no."""
        return self.rejected is None and not self.missing

    @property
    def awaits(self) -> list[str]:
        """What is missing, in words."""
        return [
            f"the signature of {role}"
            if self.wanted[role] == 1
            else f"{count} of {self.wanted[role]} signatures of {role}"
            for role, count in self.missing.items()
        ]

    @property
    def refusal(self) -> str:
        """Who has said no, in words."""
        one = self.rejected
        return f"{one.person} ({one.role}) said no: {one.reason or 'no reason given'}" if one is not None else ""


def same_person(one: str, other: str) -> bool:
    """Tell whether two names are one person's."""
    return _name(one) == _name(other)


def _name(person: str) -> str:
    return " ".join(person.split()).casefold()


def standing(
    wanted: Mapping[str, int], given: Iterable[Signature], shown: str, now: datetime, expires: timedelta
) -> Standing:
    """Return how a gate stands by the signatures for exactly what was ``shown`` that have not expired.

    One person counts once for a role, however often they signed; a role that was waived lacks nobody.
    """
    valid = [one for one in given if one.plan_hash == shown and now - one.at <= expires]
    people: Counter[str] = Counter()
    seen: set[tuple[str, str]] = set()
    counted: list[Signature] = []
    for one in valid:
        if one.decision == "reject" or (one.role, _name(one.person)) in seen or one.role not in wanted:
            continue
        seen.add((one.role, _name(one.person)))
        people[one.role] += wanted[one.role] if one.decision == "waive" else 1
        counted.append(one)
    missing = {role: count - people[role] for role, count in wanted.items() if people[role] < count}
    no = next((one for one in valid if one.decision == "reject"), None)
    return Standing(dict(wanted), missing, tuple(counted), no)
