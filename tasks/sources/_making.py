"""The making of a version in its final place: whole or not at all, by one process at a time."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from pathlib import Path

from tasks.domain.errors import Refused
from tasks.domain.ports import Command
from tasks.domain.release import MARKER
from tasks.domain.target import Target
from tasks.sources._build import Build, wait_for_orphans

SUFFIX = ".making"
"""How the name of the note ends that stands beside a version while it is made."""


class Making:
    """The making of a version in its final place, on record beside it until it is whole.

    Of two processes that make the same version, the later one goes on and the earlier one stops.
    """

    def __init__(self, target: Target, directory: Path) -> None:
        self._host, self._version, self._target = target.world.host, directory.name, target
        self._directory = directory
        self._note = directory.with_name(f".{directory.name}{SUFFIX}")
        self._token = secrets.token_hex(8)
        self.lock = directory.with_name(f".{directory.name}.lock")

    def begin(self, build: Sequence[Build]) -> None:
        """Clear what a killed process has left; raises `Refused` if a directory is there that is not golive's."""
        if self._host.exists(self._directory) and not self._host.exists(self._note):
            raise Refused(
                "this directory is in the way and was not fetched by golive",
                where=str(self._directory),
                do="move it elsewhere",
            )
        self._host.write(self._note, self._token)
        wait_for_orphans(self._target, build, self.lock)
        self._host.remove_tree(self._directory)

    def require(self) -> None:
        """Raise `Refused` if another process has begun to make the version."""
        if self._host.read(self._note) != self._token:
            raise Refused(f"another process makes {self._version} now", expected="one at a time", do="let that one end")

    def drop(self) -> None:
        """Remove what was made so far, unless another process makes it by now."""
        if self._host.read(self._note) == self._token:
            self._host.remove_tree(self._directory)
            self.end()

    def end(self) -> None:
        """Forget the making."""
        self._host.remove_tree(self.lock)
        self._host.remove_tree(self._note)

    def sweep(self) -> None:
        """Remove what a killed process has left of a version, unless one of its commands still runs."""
        if self._host.exists(self.lock):
            free = self._host.run(Command(("flock", "--nonblock", str(self.lock), "true"), timeout=10, ok_exit=(0, 1)))
            if free.exit_code:
                return
        if not self._host.exists(self._directory / MARKER):
            self._host.remove_tree(self._directory)
        self.end()
