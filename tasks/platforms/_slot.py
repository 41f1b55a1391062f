"""What golive keeps on record of a slot in which containers run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any


@dataclass(frozen=True)
class Slot:
    """A version in a slot: which containers it has, made from what, and whether its background services are to run.

    ``policies`` are the restart policies of the background services, once their containers are made.
    """

    version: str
    port: int
    digest: str
    web: tuple[str, ...]
    background: tuple[str, ...]
    policies: Mapping[str, str] | None = None
    busy: bool = False

    @property
    def all(self) -> tuple[str, ...]:
        """All its services."""
        return self.web + self.background

    @property
    def expected(self) -> tuple[str, ...]:
        """The services that are to run now."""
        return self.web + (self.background if self.busy else ())

    def same_as(self, other: Slot) -> bool:
        """Tell whether both were made from the same."""
        return replace(self, policies=None, busy=False) == replace(other, policies=None, busy=False)

    def to_json(self) -> str:
        """Return it as text, for a file."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Slot:
        """Return what a file says."""
        told: dict[str, Any] = json.loads(text)
        return cls(**told | {key: tuple(told[key]) for key in ("web", "background")})
