"""Docker as its command-line program reaches an engine."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field

from tasks.domain.errors import CommandFailed, ToolMissing, Unreachable
from tasks.domain.ports import Command, Finished, Host

PROJECT, SERVICE = "com.docker.compose.project", "com.docker.compose.service"
"""The labels by which Compose marks its containers."""
ASK = 30.0
"""Seconds for a question to the engine."""

_UNSET = re.compile(r"(\w+)\W*variable is not set")  # the wording that v1 and v2 share; neither has a code for it

_EVERY = "0.0.0.0"  # noqa: S104 - what Docker calls every address

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

    def compose(self, wanted: str | None) -> tuple[str, ...]:
        """Return the words that run Compose: of the wanted generation, or of v2 if it is there, or of v1."""
        if wanted != "v1":
            asked = Command(("docker", "compose", "version"), env=self.env, timeout=ASK, ok_exit=(0, 1, 125))
            if self.host.which("docker") and self.host.run(asked).exit_code == 0:
                return ("docker", "compose")
        if wanted != "v2" and self.host.which("docker-compose"):
            return ("docker-compose",)
        known = {"v1": "docker-compose", "v2": "docker compose", None: "docker compose or docker-compose"}
        raise ToolMissing(f"there is no {known[wanted]}", do="install Docker Compose")

    def inspect(self, kind: str, names: Sequence[str], form: str) -> list[Any]:
        """Return what is told of containers, images or networks, as JSON by a template; what is not there is left out.

        The template names what is wanted: the whole of it would hold the environment.
        """
        told = self.run("inspect", "--type", kind, "--format", form, *names, ok_exit=(0, 1))
        found = [json.loads(line) for line in told.stdout.splitlines() if line.strip()]
        if len(found) < len(names):
            self.require()
        return found


def unset_variables(told: Finished) -> list[str]:
    """Return the variables that Compose found without a value while it read its files."""
    return sorted(set(_UNSET.findall(told.stderr)))


def is_latest(image: str) -> bool:
    """Tell whether an image is named without a version: by no tag, or by the tag latest, and by no digest."""
    last = image.rpartition("/")[2]
    return "@" not in last and last.partition(":")[2] in {"", "latest"}


def not_meant(published: Iterable[tuple[str, str]], meant: Iterable[str]) -> list[str]:
    """Return the ports, of address and port, that are published and not among those that may be.

    ``8000`` means any address, ``127.0.0.1:8000`` that address alone.
    """
    allowed = set(meant)
    named = [(_EVERY if address in {"", "::"} else address, port) for address, port in published]
    return sorted({f"{address}:{port}" for address, port in named if not {port, f"{address}:{port}"} & allowed})
