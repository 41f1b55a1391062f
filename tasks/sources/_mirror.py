"""A bare copy of a Git repository on the host, and the commands that read and push from it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated
from urllib.parse import unquote

from pydantic import Field

from tasks.domain.errors import CommandFailed, Unreachable
from tasks.domain.http_login import basic
from tasks.domain.ports import Command, Finished
from tasks.domain.target import Target
from tasks.sources import no_such_version

Repository = Annotated[str, Field(pattern=r"^[^-\s]\S*$", examples=["https://git.example.org/shop.git"])]
"""A repository's URL, or its path on the host; a password in it is named by a secret reference."""

_COMMIT = re.compile(r"[0-9a-fA-F]{7,64}")
_LOGIN = re.compile(
    r"(?P<scheme>https?://)(?P<name>(\$\{[^{}]*\}|[^/@:])*)(:(?P<password>(\$\{[^{}]*\}|[^/@])*))?@(?P<rest>.*)"
)

_ALWAYS = {
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_SSH_COMMAND": "ssh -o BatchMode=yes -o ConnectTimeout=15",
    "GIT_LFS_SKIP_SMUDGE": "1",
}
# A person's own configuration may hold the way to the repository (credentials, proxy), but must not change its files.
LOCAL_ONLY = {"GIT_CONFIG_GLOBAL": "/dev/null"}
_OPTIONS = (
    *("-c", "core.hooksPath=/dev/null"),
    *("-c", "core.fsmonitor=false"),
    *("-c", "core.autocrlf=false"),
    *("-c", "gc.auto=0"),
    *("-c", "maintenance.auto=false"),
)


@dataclass(frozen=True)
class Mirror:
    """A repository as it was when it was last looked at, in a directory on the host; ``timeout`` is in seconds."""

    target: Target
    repository: str
    directory: Path
    timeout: float

    def commit(self, version: str) -> str:
        """Return the commit of a tag, else a branch, else a hash; raises `InvalidVersion` with the nearest names."""
        names = [f"refs/tags/{version}", f"refs/heads/{version}"]
        if _COMMIT.fullmatch(version):
            names.append(version)
        for name in names:
            if found := self.parse(f"{name}^{{commit}}"):
                return found
        listing = ("for-each-ref", "--sort=creatordate", "--format=%(refname:lstrip=2)", "refs/heads", "refs/tags")
        known = self.git(*listing, env=LOCAL_ONLY).stdout.split()
        raise no_such_version(version, known, self.shown)

    def uncommitted(self, commit: str) -> list[str]:
        """Return what somebody has changed and not committed, if the repository is a working tree at a commit."""
        tree = Path(self.target.fill(self.repository))
        if not tree.is_absolute() or not self.target.world.host.exists(tree / ".git"):
            return []

        def ask(*words: str) -> str:
            # By the person's own configuration, which says whose repositories may be read and how their files differ.
            argv = ("git", "--no-optional-locks", "-C", str(tree), "-c", "core.fsmonitor=false", *words)
            found = self.target.world.host.run(Command(argv, timeout=self.timeout, ok_exit=(0, 1, 128)))
            return found.stdout.rstrip("\n")

        if ask("rev-parse", "--verify", "--quiet", "HEAD^{commit}") != commit:
            return []
        return [line[3:] for line in ask("status", "--porcelain", "--untracked-files=no").splitlines()]

    def parse(self, name: str) -> str:
        """Return the object that a name leads to, or an empty text."""
        arguments = ("rev-parse", "--verify", "--quiet", "--end-of-options", name)
        return self.git(*arguments, env=LOCAL_ONLY, ok_exit=(0, 1, 128)).stdout.strip()

    def update(self) -> None:
        """Bring the mirror to what the repository has now; one that a killed fetch left broken is made anew."""
        arguments = ("fetch", "--quiet", "--prune", "--no-write-fetch-head", "--no-recurse-submodules", "origin")
        settings, secret = self._access()
        self.target.world.host.run(Command(("mkdir", "-p", "-m", "700", "--", str(self.directory.parent))))
        for second_try in (False, True):
            try:
                self.git("init", "--quiet", "--bare", "--shared=0600", "--template=", env=LOCAL_ONLY)
                self.git(*arguments, env=settings, secret_env=secret)
            except CommandFailed as error:
                self._ask(settings, secret)
                if second_try:
                    raise
                self.target.world.progress(f"the mirror is made anew: {error.seen.splitlines()[-1]}")
                self.target.world.host.remove_tree(self.directory)
            else:
                return

    def push(self, commit: str, branch: str) -> None:
        """Let a branch of the repository lead to a commit; Git refuses it unless that comes after what is there."""
        settings, secret = self._access()
        words = ("push", "--quiet", "--no-follow-tags", "origin", f"{commit}:refs/heads/{branch}")
        self.git(*words, env=settings, secret_env=secret)

    def _ask(self, settings: dict[str, str], secret: dict[str, str]) -> None:
        """Raise `Unreachable` unless the repository itself can be listed, whatever the state of the mirror."""
        arguments = ("--git-dir=/dev/null", "ls-remote", "--quiet", "--heads", "origin")
        try:
            self.git(*arguments, env=settings, secret_env=secret)
        except CommandFailed as error:
            raise Unreachable(
                f"the repository cannot be read: {error.seen}",
                where=self.shown,
                do="check its address, the network and golive's right to read it",
            ) from error

    def _access(self) -> tuple[dict[str, str], dict[str, str]]:
        """Return Git settings for the way to the repository, and those that are secret, as environment variables.

        Git hands a URL on to its helpers as an argument, which every user of the machine can read: a password in it
        goes into a header instead.
        """
        # Taken apart before secrets are filled in, since a token may hold any sign.
        if match := _LOGIN.fullmatch(self.repository):
            name, password = (self.target.fill(unquote(part or "")) for part in match.group("name", "password"))
            url = self.target.fill(match["scheme"] + match["rest"])
        elif match := _LOGIN.fullmatch(url := self.target.fill(self.repository)):
            name, password = (unquote(part or "") for part in match.group("name", "password"))
            url = match["scheme"] + match["rest"]
        secret = {}
        if match:
            secret = {"GIT_CONFIG_VALUE_3": f"Authorization: {basic(f'{name}:{password}')}"}
        pairs = [
            ("remote.origin.url", url),
            ("remote.origin.fetch", "+refs/heads/*:refs/heads/*"),
            ("remote.origin.fetch", "+refs/tags/*:refs/tags/*"),
        ]
        settings = {f"GIT_CONFIG_KEY_{n}": key for n, (key, _) in enumerate(pairs)}
        settings |= {f"GIT_CONFIG_VALUE_{n}": value for n, (_, value) in enumerate(pairs)}
        if secret:
            settings["GIT_CONFIG_KEY_3"] = f"http.{url}.extraHeader"
        return settings | {"GIT_CONFIG_COUNT": str(len(pairs) + len(secret))}, secret

    @property
    def shown(self) -> str:
        """The repository without its secrets."""
        return self.target.world.secrets.mask(self.target.fill(self.repository))

    def git(
        self,
        *arguments: str,
        env: dict[str, str],
        secret_env: dict[str, str] | None = None,
        cwd: Path | None = None,
        ok_exit: tuple[int, ...] = (0,),
    ) -> Finished:
        """Run Git on the mirror; ``env`` says which configuration it reads."""
        return self.target.world.host.run(
            Command(
                ("git", f"--git-dir={self.directory}", *_OPTIONS, *arguments),
                cwd=cwd,
                env=_ALWAYS | env,
                secret_env=secret_env or {},
                timeout=self.timeout,
                ok_exit=ok_exit,
            )
        )
