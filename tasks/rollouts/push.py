"""The rollout push."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from tasks.domain.condition import Missing, at_path
from tasks.domain.errors import CommandFailed, OutsideError, Refused, ReleaseFileError, RolloutFailed
from tasks.domain.kind import Duration
from tasks.domain.target import Target
from tasks.rollouts import Rollout, Site, Step
from tasks.sources import placed, versions_on_host
from tasks.sources._mirror import LOCAL_ONLY, Mirror, Repository

_SHOWN = 5


@dataclass(frozen=True)
class _Own:
    """A commit of golive's: for which version it was made, and the commit whose very content it has."""

    version: str
    commit: str


@dataclass(frozen=True)
class _Plan:
    """What has to be pushed so that the branch has a version's content; ``way`` is empty if it has it already."""

    tip: str
    commit: str
    way: Literal["", "fast forward", "merge", "revert"]


class Push(Rollout):
    """Brings a version into service by a push to the branch that some automation deploys, and waits until it answers.

    What is pushed has exactly the files that were rehearsed and signed: the version's own commit, or a merge of it with
    just its files. Where the branch holds what neither the version contains nor golive has brought there, nothing is
    pushed and those commits are named. Going back is a further commit, which reverts the branch to the files of the
    former version; nothing is ever forced. If others push meanwhile, Git itself refuses golive's push.

    The code for the migration and the rehearsal comes by ``source: {kind: git}``, and the platform runs both versions
    in the rehearsal alone.
    """

    kind: Literal["push"] = "push"
    """Which kind of rollout this is."""
    repository: Repository
    """The repository's URL, or its path on the host, to which golive may push."""
    branch: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*([./][A-Za-z0-9_-]+)*$", examples=["main"])]
    """The branch whose push starts the automated deployment."""
    merge: Literal["commit", "fast_forward"] = "commit"
    """``commit``: each version comes by a merge commit; ``fast_forward``: the branch is led to the version's own commit
    where that comes after it, which it does not once golive has gone back."""
    author: Annotated[str, Field(pattern=r"^[^<>\n]+ <[^<>\s]+@[^<>\s]+>$")] = "golive <golive@localhost>"
    """The author of golive's commits; some hosters deploy only what a member of the team has authored."""
    timeout: Duration = 600.0
    """How long a push may take, with all that the repository's own hooks do in it."""
    url: Annotated[str, Field(examples=["{base_url}/version"])]
    """Where the running service says its version."""
    json_path: str = ""
    """Where in the JSON of that answer it stands, as in ``build.version``; empty if a header says it."""
    header: Annotated[str, Field(pattern=r"^[A-Za-z0-9-]*$", examples=["X-Version"])] = ""
    """The header of that answer which says it; if there is no json_path."""
    says: Literal["version", "commit"] = "version"
    """Whether it says the version's name, or the deployed commit, in full or by its first 7 or more letters."""
    within: Duration = 900.0
    """How long after the push the new version may take to answer."""
    every: Duration = 2.0
    """How long to wait between two questions."""
    successes: Annotated[int, Field(ge=1)] = 3
    """How many answers in a row must say it, since old and new may both answer for a while."""

    @model_validator(mode="after")
    def _says_it_in_one_place(self) -> Push:
        if bool(self.json_path) == bool(self.header):
            raise ValueError("expected either json_path or header, where the service says its version")
        return self

    def places(self) -> Mapping[str, int]:
        """Return nothing: what runs is not golive's to start."""
        return {}

    def serving(self, site: Site) -> str | None:
        """Return the version that the running service says; None if it says none."""
        try:
            return self._said(site)
        except OutsideError as error:
            site.target.world.progress(f"no version is known to serve: {error}")
            return None

    def steps(self, site: Site, version: str) -> Sequence[Step]:
        """Return the acts: see what has to be pushed, push it, wait until the service says the version."""
        return [
            Step(f"compare {self.branch} with {version}", lambda: self._compare(site, version), mutates=False),
            Step(f"push {version} to {self.branch}", lambda: self._push(site, version)),
            Step(f"wait until {version} answers", lambda: self._wait(site, version)),
        ]

    def finish(self, site: Site) -> Sequence[Step]:  # noqa: ARG002
        """Return nothing: the automation has replaced the old version."""
        return ()

    def _compare(self, site: Site, version: str) -> Mapping[str, Any]:
        plan = self._plan(site.target, version)
        return {"branch": self.branch, "at": plan.tip, "commit": plan.commit, "way": plan.way or "nothing to push"}

    def _push(self, site: Site, version: str) -> Mapping[str, Any]:
        target, mirror = site.target, self._mirror(site.target)
        begun = target.world.clock.monotonic()
        plan = self._plan(target, version)
        if not plan.way:
            return {"pushed": None, "at": plan.tip}
        new = plan.commit if plan.way == "fast forward" else self._made(mirror, plan, version)
        try:
            mirror.push(new, self.branch)
        except CommandFailed as error:
            mirror.update()
            if self._tip(mirror) != plan.tip:
                raise self._moved(mirror, plan.tip) from error
            raise RolloutFailed(
                f"the repository refused the push: {error.seen}",
                where=f"{mirror.shown} {self.branch}",
                do="look at its rules and hooks; the branch is as it was",
            ) from error
        took = round(target.world.clock.monotonic() - begun, 3)
        return {"pushed": new, "way": plan.way, "before": plan.tip, "seconds": took}

    def _wait(self, site: Site, version: str) -> Mapping[str, Any]:
        clock = site.target.world.clock
        begun, row, last = clock.monotonic(), 0, "nothing was asked"
        while row < self.successes:
            try:
                said = self._said(site)
                row, last = (row + 1 if said == version else 0), f"it says {said or 'no version'}"
            except OutsideError as error:
                row, last = 0, error.seen
            if row < self.successes:
                if clock.monotonic() > begun + self.within:
                    raise RolloutFailed(
                        f"{last} {self.within:g} s after the push",
                        expected=f"{version}, {self.successes} times in a row",
                        where=self.url,
                        do="read the log of the automated deployment",
                    )
                clock.sleep(self.every)
        return {"version": version, "seconds": round(clock.monotonic() - begun, 3)}

    def _plan(self, target: Target, version: str) -> _Plan:
        mirror = self._mirror(target)
        mirror.update()
        tip = self._tip(mirror)
        # What was fetched and rehearsed, whatever its name leads to by now.
        before = placed(target, version)
        commit = before.identity.split()[0] if before else mirror.commit(version)
        if not mirror.parse(f"{commit}^{{commit}}"):
            raise Refused(f"{commit[:12]} ({version}) is not there", expected="it to be pushed", where=mirror.shown)
        own = self._own(mirror, tip)
        if tip == commit or (own is not None and own.commit == commit):
            return _Plan(tip, commit, "")
        missing = self._commits(mirror, commit, tip)
        if not missing:
            return _Plan(tip, commit, "fast forward" if self.merge == "fast_forward" else "merge")
        self._require_nothing_foreign(mirror, target, commit, tip)
        return _Plan(tip, commit, "merge" if self._commits(mirror, tip, commit) else "revert")

    def _require_nothing_foreign(self, mirror: Mirror, target: Target, commit: str, tip: str) -> None:
        """Raise `Refused` if the branch holds commits that golive has not brought there and the version lacks."""
        brought = [fetched.identity.split()[0] for fetched in versions_on_host(target)]
        known = [one for one in brought if mirror.parse(f"{one}^{{commit}}")]
        since = self._commits(mirror, commit, tip, *known)
        # What lies before a commit of golive's is not in its files, or came with the version that it stands for.
        own = [one for one in since if self._own(mirror, one)]
        if foreign := self._commits(mirror, commit, tip, *known, *own):
            raise Refused(
                f"{self.branch} holds what the version does not: {self._told(mirror, foreign)}",
                expected="nothing that would be lost",
                where=mirror.shown,
                do=f"release a version that contains {self.branch}, or take those commits back there",
            )

    def _made(self, mirror: Mirror, plan: _Plan, version: str) -> str:
        """Make the commit that gives the branch a version's files, and return it; no work tree is needed for that."""
        subject = f"Merge {version}"
        text = f"Golive-Version: {version}\nGolive-Commit: {plan.commit}"
        parents = ["-p", plan.tip, "-p", plan.commit]
        if plan.way == "revert":
            title = mirror.git("log", "-1", "--format=%s", plan.tip, env=LOCAL_ONLY).stdout.strip()
            subject = f'Revert "{title}"'
            text = f"This reverts commit {plan.tip}: the files are those of {version} again.\n\n{text}"
            parents = parents[:2]
        name, _, mail = self.author.rstrip(">").partition(" <")
        who = {
            f"GIT_{role}_{what}": value
            for role in ("AUTHOR", "COMMITTER")
            for what, value in (("NAME", name), ("EMAIL", mail))
        }
        words = ("commit-tree", f"{plan.commit}^{{tree}}", *parents, "-m", subject, "-m", text)
        return mirror.git(*words, env=LOCAL_ONLY | who).stdout.strip()

    def _own(self, mirror: Mirror, commit: str) -> _Own | None:
        """Return what a commit stands for if it is golive's, and has the files that it says; else None."""
        form = "--format=%T%n%(trailers:key=Golive-Version,valueonly)%n%(trailers:key=Golive-Commit,valueonly)"
        tree, *said = mirror.git("log", "-1", form, commit, env=LOCAL_ONLY).stdout.split()
        if len(said) != 2 or mirror.parse(f"{said[1]}^{{tree}}") != tree:
            return None
        return _Own(*said)

    def _commits(self, mirror: Mirror, without: str, of: str, *known: str) -> list[str]:
        """Return the commits of one line that neither another line has nor is known."""
        return mirror.git("rev-list", of, "--not", without, *known, env=LOCAL_ONLY).stdout.split()

    def _tip(self, mirror: Mirror) -> str:
        found = mirror.parse(f"refs/heads/{self.branch}^{{commit}}")
        if not found:
            raise ReleaseFileError(
                f"there is no branch {self.branch}", where=mirror.shown, do="push it, or correct branch"
            )
        return found

    def _moved(self, mirror: Mirror, tip: str) -> Refused:
        new = self._commits(mirror, tip, self._tip(mirror))
        return Refused(
            f"{self.branch} moved meanwhile from {tip[:12]}: {self._told(mirror, new) if new else 'back'}",
            expected="nobody else to push while a release is under way",
            where=mirror.shown,
            do="see whether that is wanted in production, and release a version that contains it",
        )

    def _told(self, mirror: Mirror, commits: Sequence[str]) -> str:
        form = ("log", "--no-walk", "--format=%h %s (%an)", *commits[:_SHOWN])
        lines = mirror.git(*form, env=LOCAL_ONLY).stdout.strip().splitlines()
        more = f" and {len(commits) - _SHOWN} more" if len(commits) > _SHOWN else ""
        return "; ".join(lines) + more

    def _said(self, site: Site) -> str | None:
        """Return the version that the service says; None if it answers and says none."""
        target = site.target
        answer = target.world.http.request("GET", target.fill(self.url), timeout=10.0, fresh=True)
        if answer.status != 200:
            return None
        said: Any = answer.headers.get(self.header.lower())
        if self.json_path:
            try:
                said = at_path(json.loads(answer.body), self.json_path)
            except ValueError:
                return None
        if said is None or isinstance(said, Missing) or not str(said).strip():
            return None
        return str(said).strip() if self.says == "version" else self._version_of(target, str(said).strip())

    def _version_of(self, target: Target, said: str) -> str:
        """Return the version that a deployed commit stands for; the commit itself if golive does not know it."""
        mirror = self._mirror(target)
        if not mirror.parse(f"{said}^{{commit}}"):
            mirror.update()
        commit = mirror.parse(f"{said}^{{commit}}")
        if not commit:
            return said
        if own := self._own(mirror, commit):
            return own.version
        same = [one for one in versions_on_host(target) if one.identity.split()[0] == commit]
        return same[0].directory.name if same else commit

    def _mirror(self, target: Target) -> Mirror:
        return Mirror(target, self.repository, target.root.absolute() / "push.git", self.timeout)
