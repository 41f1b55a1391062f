"""Git on a target's host, as checks ask it."""

from __future__ import annotations

from tasks.domain.errors import CommandFailed
from tasks.domain.ports import Command, Finished
from tasks.domain.target import Target

MIRROR = "{root}/mirror.git"
"""The mirror of the repository that the source of kind ``git`` keeps."""

_OPTIONS = (
    *("-c", "core.fsmonitor=false"),
    *("-c", "core.hooksPath=/dev/null"),
    *("-c", "safe.directory=*"),
)


def git(target: Target, repository: str, *arguments: str, timeout: float, ok_exit: tuple[int, ...] = (0,)) -> Finished:
    """Run Git in a repository, which it only reads."""
    env = {"GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
    argv = ("git", "-C", target.fill(repository), *_OPTIONS, *arguments)
    return target.world.host.run(Command(argv, env=env, timeout=timeout, ok_exit=ok_exit))


def commit_of(target: Target, repository: str, name: str, *, timeout: float) -> str:
    """Return the commit that a tag, a branch or a hash leads to, or an empty text."""
    for full in (f"refs/tags/{name}", f"refs/heads/{name}", f"refs/remotes/{name}", name):
        arguments = ("rev-parse", "--verify", "--quiet", "--end-of-options", f"{full}^{{commit}}")
        if found := git(target, repository, *arguments, timeout=timeout, ok_exit=(0, 1)).stdout.strip():
            return found
    return ""


def commit_time(target: Target, *, timeout: float) -> float:
    """Return when the release's commit was made, in seconds of Unix; raises `CommandFailed` if that is not known."""
    commit = commit_of(target, MIRROR, target.version, timeout=timeout)
    if not commit:
        raise CommandFailed(f"{target.version} is no commit of the mirror", where=target.fill(MIRROR))
    return float(git(target, MIRROR, "log", "-1", "--format=%ct", commit, timeout=timeout).stdout)
