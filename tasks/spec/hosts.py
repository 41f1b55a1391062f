"""The machines of a release file on which a system runs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field

from tasks.domain.kind import Size, Strict

_AT = re.compile(
    r"ssh://(?:(?P<user>[A-Za-z_][\w.-]*)@)?(?P<hostname>[A-Za-z0-9][A-Za-z0-9.-]*)(?::(?P<port>\d{1,5}))?/?"
)


def _at(value: str) -> str:
    match = _AT.fullmatch(value)
    if not match or not 1 <= int(match["port"] or 22) <= 65535:
        raise ValueError(
            f"{value!r} is no machine; expected ssh://USER@HOST:PORT, of which user and port may be left out"
        )
    return value


OWN_MACHINE = "golive"
"""How golive's own machine is called among the hosts."""


class Machine(Strict):
    """A machine that golive reaches over SSH, and on which it runs the system."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]*$", max_length=40, examples=["app1"])]
    """How it is called in reports, errors and the router."""
    at: Annotated[str, AfterValidator(_at), Field(examples=["ssh://deploy@app1.example.org:22"])]
    """Where it is, as ``ssh://USER@HOST:PORT``; ``~/.ssh/config`` counts too, for a jump host. There must be a key, for
    nobody is there to type a password, and its host key must be known."""
    address: Annotated[str, Field(pattern=r"^[A-Za-z0-9.-]*$", examples=["10.0.0.5"])] = ""
    """Where the router reaches its ports; the host of ``at`` if empty."""
    identity: Path | None = None
    """The file of the private key; those of the agent and of ``~/.ssh`` if there is none."""
    known_hosts: Path | None = None
    """The file of the host keys that are trusted; the user's own if there is none."""
    root: str = ""
    """The directory there in which golive keeps its releases and logs; the path of the file's ``root`` if empty. No two
    hosts, nor golive's own machine, may share one."""
    python: str = "python3"
    """What ``{python}`` stands for there; programs beside it are found if it is a path."""
    free: Size = 100_000_000
    """How much must be free there before a release begins."""

    @property
    def user(self) -> str:
        """The user of `at`, or nothing."""
        return self._part("user")

    @property
    def hostname(self) -> str:
        """The host of `at`."""
        return self._part("hostname")

    @property
    def port(self) -> int | None:
        """The port of `at`, if it names one."""
        return int(self._part("port") or 0) or None

    def _part(self, name: str) -> str:
        match = _AT.fullmatch(self.at)
        return (match[name] or "") if match else ""
