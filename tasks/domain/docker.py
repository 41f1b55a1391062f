"""Docker as its command-line program reaches an engine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from tasks.domain.errors import CommandFailed, ToolMissing, Unreachable
from tasks.domain.ports import Command, Finished, Host

ASK = 30.0
"""Seconds for a question to the engine."""

Address = Annotated[str, Field(pattern=r"^((unix|tcp|ssh)://\S+)?$", examples=["unix:///run/user/1000/docker.sock"])]
"""Where an engine listens; empty for the default one of golive's user."""


@dataclass(frozen=True)
class Docker:
    """The program docker on a host, speaking to the engine at an address."""

    host: Host
    address: str = ""

    @property
    def env(self) -> Mapping[str, str]:
        """The environment by which docker and Compose find the engine."""
        return {"DOCKER_CLI_HINTS": "false"} | ({"DOCKER_HOST": self.address} if self.address else {})

    def run(self, *words: str, timeout: float = ASK, ok_exit: tuple[int, ...] = (0,)) -> Finished:
        """Run ``docker`` with these words; raises `Unreachable` if it failed and the engine does not answer."""
        try:
            return self.host.run(Command(("docker", *words), env=self.env, timeout=timeout, ok_exit=ok_exit))
        except CommandFailed:
            self.require()
            raise

    def require(self) -> None:
        """Raise `ToolMissing` without the program docker, and `Unreachable` unless the engine answers."""
        if self.host.which("docker") is None:
            raise ToolMissing("docker is not installed", do="install Docker's engine and client")
        try:
            self.host.run(Command(("docker", "version", "--format", "{{.Server.Version}}"), env=self.env, timeout=ASK))
        except CommandFailed as error:
            raise Unreachable(
                f"the Docker engine does not answer: {error.seen}",
                where=self.address or "its default address",
                do="start it, and let golive's user reach it (group docker)",
            ) from error
