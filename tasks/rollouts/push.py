"""The rollout push."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from tasks.domain.condition import Missing, at_path
from tasks.domain.errors import CommandFailed, OutsideError, RolloutFailed
from tasks.domain.kind import Duration
from tasks.domain.target import Target
from tasks.rollouts import Place, Rollout, Site, Step
from tasks.rollouts._branch import Branch
from tasks.sources import versions_on_host
from tasks.sources._mirror import Mirror, Repository


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

    def places(self, site: Site) -> Sequence[Place]:  # noqa: ARG002
        """Return nothing: what runs is not golive's to start."""
        return ()

    def require_possible(self, site: Site) -> None:
        """Raise `Refused` if others have pushed to the branch what the version lacks; nothing is pushed yet."""
        self._branch(site.target).plan(site.target.version, fast_forward=self._fast_forward)

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
        plan = self._branch(site.target).plan(version, fast_forward=self._fast_forward)
        return {"branch": self.branch, "at": plan.tip, "commit": plan.commit, "way": plan.way or "nothing to push"}

    def _push(self, site: Site, version: str) -> Mapping[str, Any]:
        clock, branch = site.target.world.clock, self._branch(site.target)
        begun = clock.monotonic()
        plan = branch.plan(version, fast_forward=self._fast_forward)
        if not plan.way:
            return {"pushed": None, "at": plan.tip}
        new = plan.commit if plan.way == "fast forward" else branch.made(plan, version, self.author)
        try:
            branch.mirror.push(new, self.branch)
        except CommandFailed as error:
            branch.mirror.update()
            if branch.tip() != plan.tip:
                raise branch.moved(plan.tip) from error
            raise RolloutFailed(
                f"the repository refused the push: {error.seen}",
                where=f"{branch.mirror.shown} {self.branch}",
                do="look at its rules and hooks; the branch is as it was",
            ) from error
        took = round(clock.monotonic() - begun, 3)
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
        branch = self._branch(target)
        mirror = branch.mirror
        if not mirror.parse(f"{said}^{{commit}}"):
            mirror.update()
        commit = mirror.parse(f"{said}^{{commit}}")
        if not commit:
            return said
        if own := branch.own(commit):
            return own.version
        same = [one for one in versions_on_host(target) if one.identity.split()[0] == commit]
        return same[0].directory.name if same else commit

    @property
    def _fast_forward(self) -> bool:
        return self.merge == "fast_forward"

    def _branch(self, target: Target) -> Branch:
        return Branch(Mirror(target, self.repository, target.root.absolute() / "push.git", self.timeout), self.branch)
