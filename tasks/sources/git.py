"""Code from a Git repository: a tag, a branch or a commit."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from tasks.domain.errors import CommandFailed, DiskTooSmall, InvalidVersion, Refused, TimedOut, Unreachable
from tasks.domain.kind import Duration
from tasks.domain.ports import Command
from tasks.domain.release import check_version
from tasks.domain.target import Target
from tasks.domain.units import show_bytes
from tasks.sources import Built, Fetched, place, placed, refuse_links_that_leave
from tasks.sources._mirror import LOCAL_ONLY, Mirror, Repository

_FULL = 1 << 20
"""With fewer bytes free a disk is taken to be full."""


class Git(Built):
    """Takes a version's code from a Git repository, of which a mirror is kept on the host.

    Submodules and large files (LFS) are not followed. A repository that is a working tree with changes which no commit
    holds is refused, if the version is what is checked out there.
    """

    kind: Literal["git"] = "git"
    """Which kind of source this is."""
    repository: Repository
    """The repository's URL, or its path on the host."""
    subdirectory: Annotated[str, Field(pattern=r"^([^/.:][^/:]*/)*[^/.:][^/:]*$|^$", examples=["backend"])] = ""
    """The directory in the repository that is released; all of it if empty."""
    timeout: Duration = 120.0
    """After how long the repository is given up as unreachable."""

    def identify(self, target: Target, version: str) -> str:
        """Return the commit that a tag, else a branch, else a commit's hash leads to, as the repository has it now.

        Raises `InvalidVersion` with the nearest tags if there is none, `Unreachable` if the repository does not answer,
        `Refused` if the repository is a working tree at that commit with changes that no commit holds.
        """
        check_version(version)
        mirror = self._mirror(target)
        mirror.update()
        commit = mirror.commit(version)
        if changed := mirror.uncommitted(commit):
            raise Refused(
                f"{len(changed)} changed and not committed: {', '.join(changed[:5])}",
                expected="a working tree that is what its commit says",
                where=mirror.shown,
                do="commit what shall go live and release that, or put it away by git stash",
            )
        return self.exactly(commit)

    def fetch(self, target: Target, version: str) -> Fetched:
        """Export the version to ``{root}/releases/VERSION``, whole or not at all, and return it.

        A version that was fetched before is also returned while the repository is unreachable: a way back must not
        depend on it.
        """
        check_version(version)
        mirror = self._mirror(target)
        try:
            mirror.update()
        except (Unreachable, TimedOut) as error:
            if before := placed(target, version):
                target.world.progress(f"{version} is taken from the host as it was fetched before: {error}")
                return before
            raise
        commit = mirror.commit(version)

        def fill(tree: Path) -> None:
            self._export(mirror, commit, tree)

        return place(target, version, self.exactly(commit), mirror.shown, fill, self.build)

    def _export(self, mirror: Mirror, commit: str, tree: Path) -> None:
        host = mirror.target.world.host
        wanted = mirror.parse(f"{commit}:{self.subdirectory}")
        if not wanted or not mirror.parse(f"{wanted}^{{tree}}"):
            raise InvalidVersion(f"{commit[:12]} has no directory {self.subdirectory}", where=mirror.shown)
        host.run(Command(("mkdir", "--", str(tree))))
        # An index of its own and no `git archive`, which leaves out and rewrites files by the repository's attributes.
        index = tree.with_name(f".{tree.name}.index.partial")
        env = LOCAL_ONLY | {"GIT_INDEX_FILE": str(index), "GIT_WORK_TREE": str(tree)}
        host.remove_tree(index)
        try:
            mirror.git("read-tree", wanted, env=env, cwd=tree)
            mirror.git("checkout-index", "--all", "--quiet", env=env, cwd=tree)
        except CommandFailed as error:
            # Git itself only says which file it could not write; it leaves what it wrote of that.
            if (free := host.disk_free(tree)) > _FULL:
                raise
            seen = f"No space left on device: {show_bytes(free)} free after {error.seen.splitlines()[-1]}"
            raise DiskTooSmall(seen, where=str(tree), do="make room on this disk") from error
        finally:
            host.remove_tree(index)
        refuse_links_that_leave(host.links(tree), f"{mirror.shown} at {commit[:12]}")

    def _mirror(self, target: Target) -> Mirror:
        return Mirror(target, self.repository, target.root.absolute() / "mirror.git", self.timeout)
