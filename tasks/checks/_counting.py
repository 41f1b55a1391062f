"""What kinds have in common that judge by how far a server's counters have moved since an earlier look."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from pydantic import field_validator

from tasks.checks import Check
from tasks.domain.counters import Window, between, counted, from_the_beginning
from tasks.domain.outcome import Reading, unknown
from tasks.domain.ports import Session
from tasks.domain.target import Target

Since = Literal["look", "first", "release", "reset"]
_WORDS: dict[str, str] = {
    "look": "since the last look",
    "first": "since the first look",
    "release": "since before the release",
}


@dataclass(frozen=True)
class Counts:
    """Counters by name, as JSON holds them; ``rows`` is what they were read from, for the same look only.

    ``marks`` change when the counters are reset, ``began`` is when they began, if they have moments of their own.
    """

    values: Mapping[str, Any]
    rows: Any = None
    marks: Mapping[str, str | None] = field(default_factory=dict)
    began: str | None = None


class Counting(Check):
    """Looks at how far counters have moved."""

    since: Since = "look"
    """From when it counts: ``look`` (the check's last look, or what was recorded before the release where there is
    none yet), ``first`` (its first look in this release), ``release`` (what was recorded before the release), or
    ``reset`` (when the server began to count)."""
    dsn: str = "{dsn}"
    """The database; by default that of the system."""

    @field_validator("on")
    @classmethod
    def _is_one_server(cls, on: str | None) -> str | None:
        if on == "hosts":
            raise ValueError("the database's server is the same for all hosts")
        return on

    @property
    def compares(self) -> bool:
        """Whether it counts from an earlier look."""
        return self.since != "reset"

    @abstractmethod
    def count(self, session: Session) -> Counts:
        """Return the counters as they stand."""

    @abstractmethod
    def judge(self, session: Session, now: Counts, window: Window | str) -> Reading:
        """Return what the counters mean; in place of a window, a text says why there is none."""

    def look(self, target: Target) -> Reading:
        """Return how far the counters have moved; without an earlier look, or after a reset, that is unknown."""
        with target.world.databases.session(
            target.fill(self.dsn), read_only=True, statement_timeout=self.timeout
        ) as session:
            counts = self.count(session)
            now = _counted(session, counts)
            reading = self.judge(session, counts, self._window(target, now))
        return replace(reading, detail={**reading.detail, "counters": now})

    def record(self, target: Target) -> Mapping[str, Any]:
        """Return the counters as they stand before the release."""
        with target.world.databases.session(
            target.fill(self.dsn), read_only=True, statement_timeout=self.timeout
        ) as session:
            return {"counters": _counted(session, self.count(session))}

    def _window(self, target: Target, now: Mapping[str, Any]) -> Window | str:
        if self.since == "reset":
            return from_the_beginning(now)
        earlier = target.earlier.get(self.name, {})
        before = earlier.get("last" if self.since == "look" else self.since)
        since = self.since
        if before is None:
            before, since = target.baseline.get(self.name, {}).get("counters"), "release"
        if before is None:
            return "there is no earlier look to count from, and nothing was recorded before the release"
        return between(before, now, _WORDS[since])


def _counted(session: Session, counts: Counts) -> dict[str, Any]:
    found = counted(session, counts.values, counts.marks)
    return found | {"began": counts.began} if counts.began else found


def without_window(why: str, window: str) -> Reading:
    """Return that something cannot be known for want of a window."""
    return unknown(f"{why} cannot be known: {window}")
