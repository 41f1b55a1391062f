"""Platforms: what runs a system's processes. One file per kind, found by its file."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, ClassVar, Self

from tasks.domain.errors import ReleaseFileError
from tasks.domain.kind import Kind
from tasks.domain.ports import Command, Finished
from tasks.domain.target import Target, Within

_HOLD_VARIABLES = frozenset({"environment", "files"})
"""The fields of a platform, or of its parts, in which variables stand by name."""


class Running(StrEnum):
    """Whether an instance runs; ``unknown`` means that the platform could not be asked."""

    UP = "up"
    STARTING = "starting"
    DOWN = "down"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Instance:
    """One copy of a system's processes: a version, in a slot, on a port of its own.

    ``slot`` names the place (``blue``, ``green``, ``rehearsal``); a slot runs at most one version at a time.
    ``background`` tells whether its background processes (workers, schedulers) start with it; without them a version
    can stand ready beside another without doing the other's work twice.
    """

    slot: str
    version: str
    release_dir: Path
    port: int
    dsn: str = field(repr=False)
    background: bool = True


@dataclass(frozen=True)
class Status:
    """What the platform says of a slot: whether it runs, which version, on which port, and its own words."""

    running: Running
    version: str = ""
    port: int = 0
    detail: Mapping[str, str] = field(default_factory=dict)


class Platform(Kind):
    """Starts, stops and looks after a system's processes. Each method may be called again without harm."""

    slots_at_once: ClassVar[bool] = False
    """Whether several slots of one machine may be started and stopped at the same time."""

    def variables(self) -> frozenset[str]:
        """Return the names of the variables that the release file hands to what runs."""
        return frozenset(name for given in _handed_over(self.model_dump()) for name in given)

    def given(self, values: Mapping[str, str]) -> Self:
        """Return this platform with other values for some of these variables, wherever it hands them over."""
        tree = self.model_dump()
        for handed in _handed_over(tree):
            handed.update({name: value for name, value in values.items() if name in handed})
        changed = type(self).model_validate(tree)
        # A copy, so that both share what keeps two threads from each other.
        return self.model_copy(update={name: getattr(changed, name) for name in type(self).model_fields})

    @abstractmethod
    def start(self, target: Target, instance: Instance) -> None:
        """Run the instance in its slot; nothing is done if that version already runs there.

        Raises `RolloutFailed` with the last lines of its log if it exits at once.
        """

    @abstractmethod
    def stop(self, target: Target, slot: str) -> None:
        """Stop what runs in the slot: gracefully, then by force. An empty slot is fine."""

    @abstractmethod
    def status(self, target: Target, slot: str) -> Status:
        """Return what runs in the slot."""

    @abstractmethod
    def log(self, target: Target, slot: str, lines: int = 40) -> Sequence[str]:
        """Return the last lines that the slot's processes wrote."""

    def background(self, target: Target, slot: str, *, run: bool) -> None:
        """Start or stop the slot's background processes; a platform without such a distinction does nothing.

        Raises `RolloutFailed` with the last lines of their log if they exit at once.
        """

    def require_possible(self, target: Target) -> None:
        """Raise what stands in the way of running the target's version, whose code may not be there yet."""

    def require_within(self, within: Within) -> None:
        """Raise `ReleaseFileError` unless commands can be run within such a container, as far as that can be known."""
        raise _no_containers(self, within)

    def run(self, target: Target, within: Within, command: Command) -> Finished:  # noqa: ARG002 - for those that can
        """Run a command within a service's container that runs in the target's slot, or in one made for it.

        That is made of the target's version, and is gone afterwards, also where the command ran out of its time.
        """
        raise _no_containers(self, within)

    def close(self, target: Target) -> None:
        """End what the platform itself keeps running, if golive started it."""


def _handed_over(tree: Any) -> Iterator[dict[str, str]]:
    """Yield the variables of a platform: its own, those of its processes, and those that hold the path of a file."""
    if isinstance(tree, dict):
        for name, part in tree.items():
            if name in _HOLD_VARIABLES and _is_texts(part):
                yield part
            else:
                yield from _handed_over(part)


def _is_texts(part: Any) -> bool:
    return isinstance(part, dict) and all(isinstance(value, str) for value in part.values())


def _no_containers(platform: Platform, within: Within) -> ReleaseFileError:
    return ReleaseFileError(
        f"the platform {platform.kind} has no containers to run a command in",
        expected="one that has, such as compose",
        where=within.service,
        do="leave the service out: then the command runs on the host",
    )
