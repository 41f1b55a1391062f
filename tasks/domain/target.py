"""What a check looks at and what a rollout works on."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Protocol

from pydantic import Field

from tasks.domain.errors import ReleaseFileError
from tasks.domain.ports import Command, Finished, World
from tasks.domain.turn import Turn

HOSTS = "hosts"
"""Under which name a baseline, and the evidence of a reading, holds what is of each host."""

PLACEHOLDERS = ("base_url", "dsn", "port", "version", "release_dir", "root", "system", "slot", "python", "image")
"""The names that may stand in braces in a release file's texts."""

OF_DSN = ("db_host", "db_port", "db_user", "db_password", "db_name")
"""The names that stand for the parts of ``{dsn}``, for programs that want them one by one."""

_PLACEHOLDER = re.compile(r"\{(" + "|".join((*PLACEHOLDERS, *OF_DSN)) + r"|dsn\+[a-z0-9_]+)\}")


ServiceName = Annotated[str, Field(pattern=r"^([a-zA-Z0-9][a-zA-Z0-9._-]*)?$", examples=["api"])]
"""The name of a service of the platform; empty for none."""


@dataclass(frozen=True)
class Within:
    """In which container a command runs: that of a service that runs, or with ``one_off`` one made for the command."""

    service: str
    one_off: bool = False


class Containers(Protocol):
    """Runs commands within the containers of a system's services."""

    def run(self, target: Target, within: Within, command: Command) -> Finished:
        """Run a command to its end, as `Host.run` does."""
        ...


ONCE = "migration"
"""The slot in which a version runs that is started once for its migration alone."""


class Starts(Protocol):
    """Starts a system's version by itself and for nobody, in the slot `ONCE`."""

    def once(self, target: Target, within: float) -> None:
        """Start the target's version against its database, and stop it once it is ready."""
        ...

    def end(self, target: Target) -> None:
        """End what a process that was killed has left of it; nothing there is fine."""
        ...


@dataclass(frozen=True)
class Target:
    """One running, or soon to run, version of a system, with the world to look at it through.

    ``dsn`` holds a password and must not be shown; ``baseline`` maps a check's name to what was recorded before the
    release; ``earlier`` maps it to the ``counters`` that its ``first`` and its ``last`` look left in their
    ``Reading.detail``; ``looked`` maps it to when its last look of this phase began that came to a result. ``root`` is
    where golive keeps the system's releases. ``slot`` is known where a platform works on one, ``image`` is what the
    container image of the version is exactly, where it has one. ``turn`` is there only where production is to be
    migrated. ``python`` is the interpreter of the machine that it is on. ``hosts`` are the machines on which the system
    runs, each as the target is seen from there; there are none where that is golive's own. ``containers`` run commands
    within the system's services, ``starts`` starts a version of it by itself.
    """

    world: World
    system: str
    version: str
    base_url: str = ""
    dsn: str = field(default="", repr=False)
    port: int = 0
    slot: str = ""
    root: Path = Path()
    release_dir: Path = Path()
    image: str = ""
    baseline: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    earlier: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    looked: Mapping[str, datetime] = field(default_factory=dict)
    turn: Turn | None = None
    python: str = sys.executable
    hosts: Mapping[str, Target] = field(default_factory=dict)
    containers: Containers | None = field(default=None, repr=False)
    starts: Starts | None = field(default=None, repr=False)

    def at(self, **changes: Any) -> Target:
        """Return the same target with some fields changed."""
        return replace(self, **changes)

    def back_to_last_look(self, check: str, seconds: float) -> float:
        """Return a time until now, or the one since a check's last look came to a result where that is longer ago."""
        last = self.looked.get(check)
        return seconds if last is None else max(seconds, (self.world.clock.now() - last).total_seconds())

    def on_each_host(self) -> Mapping[str, Target]:
        """Return the target as each host sees it, by the host's name; itself by an empty name where there are none.

        Each has what is on record of that host. Databases are reached from golive's own machine all the same.
        """
        return {
            name: there.at(
                dsn=self.dsn,
                hosts={},
                looked=self.looked,
                baseline={check: recorded.get(HOSTS, {}).get(name, {}) for check, recorded in self.baseline.items()},
            )
            for name, there in self.hosts.items()
        } or {"": self}

    def run(self, command: Command, within: Within | None = None) -> Finished:
        """Run a command to its end on the target's host, or within a container of one of its services."""
        if within is None:
            return self.world.host.run(command)
        if self.containers is None:
            raise ReleaseFileError("no containers are known here", where=within.service)
        return self.containers.run(self, within, command)

    def fill(self, text: str) -> str:
        """Replace ``{base_url}``, ``{port}``, ``{version}``, … and then resolve secret references.

        ``{dsn+psycopg}`` is the DSN with the scheme by which SQLAlchemy takes that driver. Only the names of
        `PLACEHOLDERS` and `OF_DSN` are replaced; any other brace stays, so that JSON needs no escaping.
        """
        values = {
            "base_url": self.base_url,
            "dsn": self.dsn,
            "port": str(self.port),
            "version": self.version,
            "release_dir": str(self.release_dir),
            "root": str(self.root),
            "system": self.system,
            "slot": self.slot,
            "python": self.python,
            "image": self.image,
        }

        def value(match: re.Match[str]) -> str:
            found = values[match[1]] if match[1] in values else self._of_dsn(match[1])
            if not found or found == "0":
                raise ReleaseFileError(
                    f"{{{match[1]}}} has no value here", where=text, do=f"set {match[1]} for this use"
                )
            return found

        return self.world.secrets.resolve(_PLACEHOLDER.sub(value, text))

    def _of_dsn(self, name: str) -> str:
        """Return one of `OF_DSN`, or the DSN for a driver, as in ``dsn+psycopg``."""
        if not self.dsn:
            return ""
        if name.startswith("dsn+"):
            scheme, _, rest = self.dsn.partition("://")
            if not rest:
                raise ReleaseFileError("the DSN is no URL", expected="postgresql://…", where=f"{{{name}}}")
            return f"{scheme.partition('+')[0].replace('postgresql', 'postgres')}ql+{name.partition('+')[2]}://{rest}"
        databases = self.world.databases
        (host, port), (user, password) = databases.address_of(self.dsn), databases.login_of(self.dsn)
        return dict(zip(OF_DSN, (host, str(port), user, password, databases.name_of(self.dsn)), strict=True))[name]
