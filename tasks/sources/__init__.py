"""Sources: where the code of a version comes from. One file per kind, found by its file."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from pydantic import Field

from tasks.domain.kind import Kind
from tasks.domain.target import Target


@dataclass(frozen=True)
class Fetched:
    """A version's code on the host, with what identifies it exactly (a commit, a digest)."""

    directory: Path
    identity: str
    detail: Mapping[str, str] = field(default_factory=dict)


class Source(Kind):
    """Brings the code of a version to the host, each version in a directory of its own."""

    keep: Annotated[int, Field(ge=1, le=100)] = 5
    """How many releases stay on the host; the one that runs and its predecessor always stay."""

    @abstractmethod
    def identify(self, target: Target, version: str) -> str:
        """Return what the version is exactly, without fetching it; raises `InvalidVersion` if there is none."""

    @abstractmethod
    def fetch(self, target: Target, version: str) -> Fetched:
        """Bring the version to ``{root}/releases/VERSION``, whole or not at all, and return it."""

    def prune(self, target: Target, in_use: Sequence[str]) -> Sequence[str]:
        """Remove the oldest releases beyond ``keep`` that are not in use, and return their versions."""
        releases = target.root / "releases"
        host = target.world.host
        present = sorted(
            (name for name in host.list(releases) if not name.startswith(".")),
            key=lambda name: (releases / name).stat().st_mtime,
        )
        spare = [name for name in present if name not in in_use]
        extra = spare[: max(0, len(present) - self.keep)]
        for name in extra:
            host.remove_tree(releases / name)
        return extra
