"""PostgreSQL's client programs of a container image, run on golive's machine as if they were installed there."""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

from tasks.adapters.host import LocalHost
from tasks.domain.docker import ASK, Docker
from tasks.domain.errors import TimedOut
from tasks.domain.ports import Command, Finished

_PATH = re.compile(r"(?:--?[\w-]+=)?(/.*)")


class InImage(LocalHost):
    """The local machine, with its programs taken from an image: each run is a container of its own, gone at its end.

    A container has the machine's network, golive's user, and of the machine's files those that its command names.
    A variable's value reaches it by name, never as an argument.
    """

    def __init__(self, image: str, directory: Path, engine: str = "") -> None:
        """Take the programs that lie in ``directory`` of the image."""
        self._image, self._directory, self._docker = image, directory, Docker(LocalHost(), engine)

    def run(self, command: Command) -> Finished:
        """Run a command in the image, as `LocalHost.run` does on the machine."""
        name = f"golive-tools-{secrets.token_hex(8)}"
        # With an init, because the first process of a container takes no notice of SIGTERM by itself.
        words = ["docker", "run", "--rm", "--init", "--interactive", "--name", name, "--network", "host"]
        words += ["--user", f"{os.geteuid()}:{os.getegid()}"]
        for path in sorted(set(self._named_in(command))):
            words += ["--mount", f'type=bind,"src={path}","dst={path}"']
        for variable in (*command.env, *command.secret_env):
            words += ["--env", variable]
        inside = Command(
            (*words, self._image, *command.argv),
            env={**command.env, **self._docker.env},
            secret_env=command.secret_env,
            timeout=command.timeout,
            stdin=command.stdin,
            ok_exit=command.ok_exit,
        )
        try:
            return super().run(inside)
        except TimedOut:
            self._docker.run("rm", "--force", name, ok_exit=(0, 1))
            raise

    def exists(self, path: Path) -> bool:
        """Tell whether something is there: in the image for what lies in the programs' directory."""
        return path in self._programs if path.parent == self._directory else super().exists(path)

    @cached_property
    def _programs(self) -> frozenset[Path]:
        argv = ("/bin/sh", "-c", 'for each in "$0"/*; do echo "$each"; done', str(self._directory))
        told = self._docker.run("run", "--rm", self._image, *argv, timeout=20 * ASK)  # it may have to be pulled
        return frozenset(Path(line) for line in told.stdout.splitlines())

    def _named_in(self, command: Command) -> Iterator[Path]:
        """Yield what a command's words and variables name of the machine; of what is yet to be made, its directory."""
        for word in (*command.argv, *command.env.values()):
            match = _PATH.fullmatch(word)
            path = Path(match[1]) if match else self._directory
            if path.is_relative_to(self._directory):
                continue
            if super().exists(path):
                yield path
            elif path.parent != Path("/") and super().exists(path.parent):
                yield path.parent
