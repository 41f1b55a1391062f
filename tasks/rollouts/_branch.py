"""The branch that some automation deploys: what has to be pushed for a version, and what must not be lost by it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from tasks.domain.errors import Refused, ReleaseFileError
from tasks.sources import placed, versions_on_host
from tasks.sources._mirror import LOCAL_ONLY, Mirror

_SHOWN = 5


@dataclass(frozen=True)
class Own:
    """A commit of golive's: for which version it was made, and the commit whose very content it has."""

    version: str
    commit: str


@dataclass(frozen=True)
class Plan:
    """What has to be pushed so that the branch has a version's content; ``way`` is empty if it has it already."""

    tip: str
    commit: str
    way: Literal["", "fast forward", "merge", "revert"]


@dataclass(frozen=True)
class Branch:
    """A branch of a repository, by its name, seen through a mirror of that."""

    mirror: Mirror
    name: str

    def plan(self, version: str, *, fast_forward: bool) -> Plan:
        """Return what has to be pushed for a version; raises `Refused` if that would lose what others have pushed."""
        self.mirror.update()
        tip = self.tip()
        # What was fetched and rehearsed, whatever its name leads to by now.
        before = placed(self.mirror.target, version)
        commit = before.identity.split()[0] if before else self.mirror.commit(version)
        if not self.mirror.parse(f"{commit}^{{commit}}"):
            raise Refused(
                f"{commit[:12]} ({version}) is not there", expected="it to be pushed", where=self.mirror.shown
            )
        own = self.own(tip)
        if tip == commit or (own is not None and own.commit == commit):
            return Plan(tip, commit, "")
        missing = self._commits(commit, tip)
        if not missing:
            return Plan(tip, commit, "fast forward" if fast_forward else "merge")
        self._require_nothing_foreign(commit, tip)
        return Plan(tip, commit, "merge" if self._commits(tip, commit) else "revert")

    def _require_nothing_foreign(self, commit: str, tip: str) -> None:
        """Raise `Refused` if the branch holds commits that golive has not brought there and the version lacks."""
        brought = [fetched.identity.split()[0] for fetched in versions_on_host(self.mirror.target)]
        known = [one for one in brought if self.mirror.parse(f"{one}^{{commit}}")]
        since = self._commits(commit, tip, *known)
        # What lies before a commit of golive's is not in its files, or came with the version that it stands for.
        own = [one for one in since if self.own(one)]
        if foreign := self._commits(commit, tip, *known, *own):
            raise Refused(
                f"{self.name} holds what the version does not: {self._told(foreign)}",
                expected="nothing that would be lost",
                where=self.mirror.shown,
                do=f"release a version that contains {self.name}, or take those commits back there",
            )

    def made(self, plan: Plan, version: str, author: str) -> str:
        """Make the commit that gives the branch a version's files, and return it; no work tree is needed for that."""
        subject = f"Merge {version}"
        text = f"Golive-Version: {version}\nGolive-Commit: {plan.commit}"
        parents = ["-p", plan.tip, "-p", plan.commit]
        if plan.way == "revert":
            title = self.mirror.git("log", "-1", "--format=%s", plan.tip, env=LOCAL_ONLY).stdout.strip()
            subject = f'Revert "{title}"'
            text = f"This reverts commit {plan.tip}: the files are those of {version} again.\n\n{text}"
            parents = parents[:2]
        name, _, mail = author.rstrip(">").partition(" <")
        who = {
            f"GIT_{role}_{what}": value
            for role in ("AUTHOR", "COMMITTER")
            for what, value in (("NAME", name), ("EMAIL", mail))
        }
        words = ("commit-tree", f"{plan.commit}^{{tree}}", *parents, "-m", subject, "-m", text)
        return self.mirror.git(*words, env=LOCAL_ONLY | who).stdout.strip()

    def own(self, commit: str) -> Own | None:
        """Return what a commit stands for if it is golive's, and has the files that it says; else None."""
        form = "--format=%T%n%(trailers:key=Golive-Version,valueonly)%n%(trailers:key=Golive-Commit,valueonly)"
        tree, *said = self.mirror.git("log", "-1", form, commit, env=LOCAL_ONLY).stdout.split()
        if len(said) != 2 or self.mirror.parse(f"{said[1]}^{{tree}}") != tree:
            return None
        return Own(*said)

    def _commits(self, without: str, of: str, *known: str) -> list[str]:
        """Return the commits of one line that neither another line has nor is known."""
        return self.mirror.git("rev-list", of, "--not", without, *known, env=LOCAL_ONLY).stdout.split()

    def tip(self) -> str:
        """Return the branch's last commit, as the mirror has it; raises `ReleaseFileError` if there is none."""
        found = self.mirror.parse(f"refs/heads/{self.name}^{{commit}}")
        if not found:
            raise ReleaseFileError(
                f"there is no branch {self.name}", where=self.mirror.shown, do="push it, or correct branch"
            )
        return found

    def moved(self, tip: str) -> Refused:
        """Return the error for a branch that is not where it was, with what moved it."""
        new = self._commits(tip, self.tip())
        return Refused(
            f"{self.name} moved meanwhile from {tip[:12]}: {self._told(new) if new else 'back'}",
            expected="nobody else to push while a release is under way",
            where=self.mirror.shown,
            do="see whether that is wanted in production, and release a version that contains it",
        )

    def _told(self, commits: Sequence[str]) -> str:
        form = ("log", "--no-walk", "--format=%h %s (%an)", *commits[:_SHOWN])
        lines = self.mirror.git(*form, env=LOCAL_ONLY).stdout.strip().splitlines()
        more = f" and {len(commits) - _SHOWN} more" if len(commits) > _SHOWN else ""
        return "; ".join(lines) + more
