"""Code from a Git repository: a tag, a branch or a commit."""

from __future__ import annotations

import re
from base64 import b64encode
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import unquote

from pydantic import Field

from tasks.domain.errors import CommandFailed, InvalidVersion, TimedOut, Unreachable
from tasks.domain.kind import Duration
from tasks.domain.ports import Command, Finished
from tasks.domain.release import check_version
from tasks.domain.target import Target
from tasks.sources import Fetched, Source, no_such_version, place, placed, refuse_links_that_leave

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
_LOCAL_ONLY = {"GIT_CONFIG_GLOBAL": "/dev/null"}
_OPTIONS = (
    *("-c", "core.hooksPath=/dev/null"),
    *("-c", "core.fsmonitor=false"),
    *("-c", "core.autocrlf=false"),
    *("-c", "gc.auto=0"),
    *("-c", "maintenance.auto=false"),
)


class Git(Source):
    """Takes a version's code from a Git repository, of which a mirror is kept on the host.

    Submodules and large files (LFS) are not followed.
    """

    kind: Literal["git"] = "git"
    """Which kind of source this is."""
    repository: Annotated[str, Field(pattern=r"^[^-\s]\S*$", examples=["https://git.example.org/shop.git"])]
    """The repository's URL, or its path on the host."""
    subdirectory: Annotated[str, Field(pattern=r"^([^/.:][^/:]*/)*[^/.:][^/:]*$|^$", examples=["backend"])] = ""
    """The directory in the repository that is released; all of it if empty."""
    timeout: Duration = 120.0
    """After how long the repository is given up as unreachable."""

    def identify(self, target: Target, version: str) -> str:
        """Return the commit that a tag, else a branch, else a commit's hash leads to, as the repository has it now.

        Raises `InvalidVersion` with the nearest tags if there is none, `Unreachable` if the repository does not answer.
        """
        check_version(version)
        self._update(target)
        return self._commit(target, version)

    def fetch(self, target: Target, version: str) -> Fetched:
        """Export the version to ``{root}/releases/VERSION``, whole or not at all, and return it.

        A version that was fetched before is also returned while the repository is unreachable: a way back must not
        depend on it.
        """
        check_version(version)
        try:
            self._update(target)
        except (Unreachable, TimedOut) as error:
            if before := placed(target, version):
                target.world.progress(f"{version} is taken from the host as it was fetched before: {error}")
                return before
            raise
        commit = self._commit(target, version)
        return place(target, version, commit, self._shown(target), lambda tree: self._export(target, commit, tree))

    def _commit(self, target: Target, version: str) -> str:
        names = [f"refs/tags/{version}", f"refs/heads/{version}"]
        if _COMMIT.fullmatch(version):
            names.append(version)
        for name in names:
            if found := self._parse(target, f"{name}^{{commit}}"):
                return found
        listing = ("for-each-ref", "--sort=creatordate", "--format=%(refname:lstrip=2)", "refs/heads", "refs/tags")
        known = self._git(target, *listing, env=_LOCAL_ONLY).stdout.split()
        raise no_such_version(version, known, self._shown(target))

    def _parse(self, target: Target, name: str) -> str:
        """Return the object that a name leads to, or an empty text."""
        arguments = ("rev-parse", "--verify", "--quiet", "--end-of-options", name)
        return self._git(target, *arguments, env=_LOCAL_ONLY, ok_exit=(0, 1, 128)).stdout.strip()

    def _export(self, target: Target, commit: str, tree: Path) -> None:
        host = target.world.host
        wanted = self._parse(target, f"{commit}:{self.subdirectory}")
        if not wanted or not self._parse(target, f"{wanted}^{{tree}}"):
            raise InvalidVersion(f"{commit[:12]} has no directory {self.subdirectory}", where=self._shown(target))
        host.run(Command(("mkdir", "--", str(tree))))
        # An index of its own and no `git archive`, which leaves out and rewrites files by the repository's attributes.
        env = _LOCAL_ONLY | {"GIT_INDEX_FILE": str(tree.parent / "index"), "GIT_WORK_TREE": str(tree)}
        self._git(target, "read-tree", wanted, env=env, cwd=tree)
        self._git(target, "checkout-index", "--all", "--quiet", env=env, cwd=tree)
        refuse_links_that_leave(host.links(tree), f"{self._shown(target)} at {commit[:12]}")

    def _update(self, target: Target) -> None:
        """Bring the mirror to what the repository has now; one that a killed fetch left broken is made anew."""
        arguments = ("fetch", "--quiet", "--prune", "--no-write-fetch-head", "--no-recurse-submodules", "origin")
        settings, secret = self._access(target)
        target.world.host.run(Command(("mkdir", "-p", "-m", "700", "--", str(_mirror(target).parent))))
        for second_try in (False, True):
            try:
                self._git(target, "init", "--quiet", "--bare", "--shared=0600", "--template=", env=_LOCAL_ONLY)
                self._git(target, *arguments, env=settings, secret_env=secret)
            except CommandFailed as error:
                self._ask(target, settings, secret)
                if second_try:
                    raise
                target.world.progress(f"the mirror is made anew: {error.seen.splitlines()[-1]}")
                target.world.host.remove_tree(_mirror(target))
            else:
                return

    def _ask(self, target: Target, settings: dict[str, str], secret: dict[str, str]) -> None:
        """Raise `Unreachable` unless the repository itself can be listed, whatever the state of the mirror."""
        arguments = ("--git-dir=/dev/null", "ls-remote", "--quiet", "--heads", "origin")
        try:
            self._git(target, *arguments, env=settings, secret_env=secret)
        except CommandFailed as error:
            raise Unreachable(
                f"the repository cannot be read: {error.seen}",
                where=self._shown(target),
                do="check its address, the network and golive's right to read it",
            ) from error

    def _access(self, target: Target) -> tuple[dict[str, str], dict[str, str]]:
        """Return Git settings for the way to the repository, and those that are secret, as environment variables.

        Git hands a URL on to its helpers as an argument, which every user of the machine can read: a password in it
        goes into a header instead.
        """
        # Taken apart before secrets are filled in, since a token may hold any sign.
        if match := _LOGIN.fullmatch(self.repository):
            name, password = (target.fill(unquote(part or "")) for part in match.group("name", "password"))
            url = target.fill(match["scheme"] + match["rest"])
        elif match := _LOGIN.fullmatch(url := target.fill(self.repository)):
            name, password = (unquote(part or "") for part in match.group("name", "password"))
            url = match["scheme"] + match["rest"]
        secret = {}
        if match:
            login = b64encode(f"{name}:{password}".encode()).decode()
            secret = {"GIT_CONFIG_VALUE_3": f"Authorization: Basic {login}"}
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

    def _shown(self, target: Target) -> str:
        return target.world.secrets.mask(target.fill(self.repository))

    def _git(
        self,
        target: Target,
        *arguments: str,
        env: dict[str, str],
        secret_env: dict[str, str] | None = None,
        cwd: Path | None = None,
        ok_exit: tuple[int, ...] = (0,),
    ) -> Finished:
        return target.world.host.run(
            Command(
                ("git", f"--git-dir={_mirror(target)}", *_OPTIONS, *arguments),
                cwd=cwd,
                env=_ALWAYS | env,
                secret_env=secret_env or {},
                timeout=self.timeout,
                ok_exit=ok_exit,
            )
        )


def _mirror(target: Target) -> Path:
    return target.root.absolute() / "mirror.git"
