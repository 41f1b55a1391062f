"""Where a router sends requests: to one member, or shared among several by weight."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self

from tasks.domain.errors import UserError

_MEMBER = re.compile(r"([a-z][a-z0-9-]*) ([A-Za-z0-9.-]+:\d{1,5})(?: (\d{1,3}))?")
_HEAVIEST = 100


@dataclass(frozen=True)
class Member:
    """One instance that gets requests: a slot's name and its address, such as ``blue`` at ``127.0.0.1:8101``.

    ``weight`` (1 to 100) is its share in proportion to the others'. Raises `UserError` for anything that could mean
    more than that in a proxy's configuration.
    """

    slot: str
    address: str
    weight: int = 1

    def __post_init__(self) -> None:
        if not _MEMBER.fullmatch(f"{self.slot} {self.address}") or not 1 <= self.weight <= _HEAVIEST:
            raise UserError(
                f"{self.slot!r} at {self.address!r} of weight {self.weight} is not a member of an upstream",
                expected=f"a slot's name, HOST:PORT and a weight from 1 to {_HEAVIEST}",
            )

    def __str__(self) -> str:
        return f"{self.slot} {self.address} {self.weight}"


@dataclass(frozen=True)
class Upstream:
    """All members that share the requests, each slot once.

    Raises `UserError` if there is none, or a slot stands there twice.
    """

    members: tuple[Member, ...]

    def __post_init__(self) -> None:
        slots = [member.slot for member in self.members]
        if not slots or len(set(slots)) != len(slots):
            raise UserError(
                f"an upstream of {', '.join(slots) or 'nothing'}", expected="at least one member, and each slot once"
            )

    def __str__(self) -> str:
        return ", ".join(str(member) for member in self.members)

    @property
    def slots(self) -> tuple[str, ...]:
        """The slots that get requests, in order."""
        return tuple(member.slot for member in self.members)

    @classmethod
    def one(cls, slot: str, address: str) -> Self:
        """Return an upstream whose only member gets all requests."""
        return cls((Member(slot, address),))

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Return what ``str()`` of an upstream says, or None for any other text."""
        matches = [_MEMBER.fullmatch(part) for part in text.strip().split(", ")]
        try:
            return cls(tuple(Member(m[1], m[2], int(m[3] or 1)) for m in matches if m)) if all(matches) else None
        except UserError:
            return None

    def dealt(self, count: int) -> tuple[Member, ...]:
        """Deal ``count`` tickets out to the members by weight, those of each spread evenly; each gets at least one.

        Whoever takes one ticket after the other keeps to the weights, as nginx does by its smooth round robin.
        """
        total = sum(member.weight for member in self.members)
        given = {member: max(1, count * member.weight // total) for member in self.members}
        lacking = sorted(self.members, key=lambda one: given[one] * total - count * one.weight)
        for number in range(count - sum(given.values())):
            given[lacking[number % len(lacking)]] += 1
        while sum(given.values()) > count:
            given[max(given, key=lambda one: given[one])] -= 1
        credit = dict.fromkeys(self.members, 0)
        dealt: list[Member] = []
        for _ in range(count):
            for member in self.members:
                credit[member] += given[member]
            next_one = max(credit, key=lambda one: credit[one])
            credit[next_one] -= count
            dealt.append(next_one)
        return tuple(dealt)
