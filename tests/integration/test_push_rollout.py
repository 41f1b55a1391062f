"""A system whose deployment is automated on a push: a real repository whose hook deploys a small service."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from tasks.domain.errors import InvalidVersion, Refused, ReleaseFileError, RolloutFailed
from tasks.domain.ports import World
from tasks.rollouts import Site
from tasks.rollouts.push import Push
from tasks.sources import archive
from tasks.sources.git import Git
from tests.parts import git, require_part
from tests.sites import a_target, supervisor

HOOK = """#!/bin/sh
# The automation: what is pushed to main is live a moment later.
while read -r old new ref; do
    if [ "$ref" = refs/heads/main ]; then
        mkdir -p {live}
        (sleep 0.2; GIT_INDEX_FILE="index-$new" git --work-tree={live} checkout --quiet --force main
         printf '{{"commit": "%s"}}' "$new" > {live}/commit.json) > {live}.log 2>&1 &
    fi
done
"""


@dataclass
class Automated:
    """A bare repository that deploys what is pushed to ``main``, a person's clone of it, and the running service."""

    world: World
    bare: Path
    clone: Path
    root: Path
    url: str

    def commit(self, text: str, *, on: str, tag: str = "", start: str = "") -> str:
        """Commit a version to a branch of the clone, push it with its tag, and return its hash."""
        git(self.clone, "checkout", "--quiet", *(("-B", on, start) if start else (on,)))
        (self.clone / "version.json").write_text(json.dumps({"build": {"version": text}}))
        git(self.clone, "add", "--all")
        git(self.clone, "commit", "--quiet", "--message", f"Write {text}")
        if tag:
            git(self.clone, "tag", tag)
        git(self.clone, "push", "--quiet", "origin", on, "--tags")
        return git(self.clone, "rev-parse", "HEAD")

    def rollout(self, **fields: Any) -> Push:
        """Return the rollout, quick to ask and to give up."""
        said = {"url": f"{self.url}/version.json", "json_path": "build.version"}
        rest = {"within": "8s", "every": "50ms", "successes": 2}
        return Push.model_validate({"repository": str(self.bare), "branch": "main", **said, **rest, **fields})

    def site(self, version: str) -> Site:
        """Return the site for a version, whose code is fetched as a release does."""
        target = a_target(self.world, self.root, version)
        Git(repository=str(self.bare)).fetch(target, version)
        return Site(target, supervisor(), None)

    def go(self, rollout: Push, version: str) -> list[Any]:
        """Make all steps for a version and return their evidence."""
        site = self.site(version)
        done = [json.loads(json.dumps(step.act())) for step in rollout.steps(site, version)]
        assert rollout.serving(site) == version
        return done

    def main(self, form: str = "%s") -> str:
        """Return what Git says of the deploying branch's last commit."""
        return git(self.bare, "log", "-1", f"--format={form}", "main")

    def same_files(self, tag: str) -> bool:
        """Tell whether the deploying branch has exactly the files of a version."""
        return git(self.bare, "rev-parse", "main^{tree}") == git(self.bare, "rev-parse", f"{tag}^{{tree}}")


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def automated(tmp_path: Path, world: World) -> Iterator[Automated]:
    require_part("git")
    bare, clone, live = tmp_path / "shop.git", tmp_path / "clone", tmp_path / "live"
    git(tmp_path, "init", "--quiet", "--bare", str(bare))
    (bare / "hooks" / "post-receive").write_text(HOOK.format(live=live))
    (bare / "hooks" / "post-receive").chmod(0o755)
    live.mkdir()
    git(tmp_path, "clone", "--quiet", str(bare), str(clone))
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=live))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        made = Automated(world, bare, clone, tmp_path / "root", f"http://127.0.0.1:{server.server_port}")
        git(clone, "checkout", "--quiet", "-b", "main")
        git(clone, "commit", "--quiet", "--allow-empty", "--message", "Begin")
        made.commit("v1", on="main", tag="v1")
        made.commit("v2", on="work", start="main", tag="v2")
        yield made
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_a_version_goes_live_by_a_merge_and_back_by_a_revert_and_each_step_may_be_repeated(automated):
    rollout = automated.rollout()
    automated.go(rollout, "v1")
    before = automated.main("%H")
    compared, pushed, waited = automated.go(rollout, "v2")
    assert (compared["way"], pushed["way"], pushed["before"]) == ("merge", "merge", before)
    assert automated.main("%s|%an <%ae>") == "Merge v2|golive <golive@localhost>"
    assert automated.main("%P").split() == [before, git(automated.bare, "rev-parse", "v2")]
    assert waited["version"] == "v2"
    assert [automated.go(rollout, "v2")[0]["way"], automated.same_files("v2")] == ["nothing to push", True]
    merge = automated.main("%H")
    assert automated.go(rollout, "v1")[1]["way"] == "revert"
    assert automated.main("%s") == 'Revert "Merge v2"'
    assert f"This reverts commit {merge}" in automated.main("%b")
    assert automated.same_files("v1")
    assert automated.go(rollout, "v1")[1]["pushed"] is None


def test_steps_that_were_broken_off_anywhere_end_well_forward_or_back(automated):
    rollout = automated.rollout()
    automated.go(rollout, "v1")
    before = automated.main("%H")
    count = len(rollout.steps(automated.site("v2"), "v2"))
    for done in range(1, count):
        for goes_to in ("v1", "v2"):
            for step in rollout.steps(automated.site("v2"), "v2")[:done]:
                step.act()
            automated.go(rollout, goes_to)
            assert automated.same_files(goes_to)
        automated.go(rollout, "v1")
    assert before in git(automated.bare, "log", "--format=%H", "main").split()


def test_what_builds_upon_a_version_that_was_reverted_brings_all_of_it_again(automated):
    """A plain merge would leave out what the revert took away."""
    rollout = automated.rollout()
    (automated.clone / "only-in-v2").write_text("kept")
    automated.commit("v2b", on="work", tag="v2b")
    automated.commit("v3", on="work", tag="v3")
    for version in ("v2b", "v1"):
        automated.go(rollout, version)
    archive(automated.site("v2b").target, "v2b", "for a test")
    assert automated.go(rollout, "v3")[1]["way"] == "merge"
    assert automated.same_files("v3")
    automated.go(rollout, "v2")
    assert automated.same_files("v2")


def test_fast_forward_leads_the_branch_to_the_version_itself_and_goes_back_by_a_commit(automated):
    rollout = automated.rollout(merge="fast_forward", url=f"{automated.url}/commit.json", json_path="commit")
    rollout = rollout.model_copy(update={"says": "commit"})
    automated.commit("v1b", on="main", tag="v1b")
    automated.commit("v4", on="next", start="main", tag="v4")
    for version, way in (("v4", "fast forward"), ("v1b", "revert"), ("v4", "revert")):
        assert automated.go(rollout, version)[1]["way"] == way
        assert automated.same_files(version)
    assert automated.main("%an") == "golive"


def test_what_others_pushed_to_the_branch_is_seen_before_a_release_begins(automated):
    rollout = automated.rollout()
    rollout.require_possible(automated.site("v2"))
    automated.commit("hotfix", on="main")
    before = automated.main("%H")
    with pytest.raises(Refused, match=r"main holds what the version does not: .* Write hotfix"):
        rollout.require_possible(automated.site("v2"))
    assert automated.main("%H") == before


def test_commits_of_others_on_the_branch_are_never_lost_but_named(automated):
    rollout = automated.rollout()
    automated.go(rollout, "v2")
    git(automated.clone, "checkout", "--quiet", "main")
    git(automated.clone, "pull", "--quiet", "origin", "main")
    (automated.clone / "hotfix").write_text("needed")
    tip = automated.commit("v2", on="main")
    for version in ("v1", "v2"):
        with pytest.raises(Refused, match=r"Write v2 \(Test\)") as caught:
            rollout.steps(automated.site(version), version)[0].act()
        assert tip[:7] in caught.value.seen
    automated.commit("v5", on="next", start="main", tag="v5")
    automated.go(rollout, "v5")
    assert git(automated.bare, "show", "main:hotfix") == "needed"


def test_a_branch_that_moves_between_look_and_push_is_told_with_what_moved_it(automated, monkeypatch):
    from tasks.sources._mirror import Mirror

    rollout, push = automated.rollout(), Mirror.push

    def late(self, commit, branch):
        automated.commit("v1 mended", on="main")
        push(self, commit, branch)

    monkeypatch.setattr(Mirror, "push", late)
    with pytest.raises(Refused, match=r"main moved meanwhile.*Write v1 mended \(Test\)"):
        automated.go(rollout, "v2")
    assert automated.main("%s") == "Write v1 mended"


def test_a_push_that_is_refused_or_never_comes_to_serve_fails_with_the_reason(automated):
    rollout = automated.rollout(within="300ms")
    hooks = automated.bare / "hooks"
    (hooks / "pre-receive").write_text("#!/bin/sh\necho frozen until Monday >&2\nexit 1\n")
    (hooks / "pre-receive").chmod(0o755)
    with pytest.raises(RolloutFailed, match="frozen until Monday"):
        automated.go(rollout, "v2")
    (hooks / "pre-receive").unlink()
    (hooks / "post-receive").unlink()
    with pytest.raises(RolloutFailed, match=r"it says v1 0\.3 s after the push.*v2, 2 times in a row"):
        automated.go(rollout, "v2")
    assert rollout.serving(automated.site("v2")) == "v1"
    silent = automated.rollout(url="http://127.0.0.1:9/version.json")
    assert silent.serving(automated.site("v2")) is None


def test_an_unknown_version_or_branch_is_refused_before_anything_is_pushed(automated):
    target = a_target(automated.world, automated.root, "v9")
    site = Site(target, supervisor(), None)
    with pytest.raises(InvalidVersion, match="there is no version v9"):
        automated.rollout().steps(site, "v9")[0].act()
    with pytest.raises(ReleaseFileError, match="there is no branch live"):
        automated.rollout(branch="live").steps(automated.site("v1"), "v1")[0].act()


@pytest.mark.parametrize("wrong", [{"json_path": ""}, {"header": "X-Version"}, {"branch": "-f"}, {"branch": "a..b"}])
def test_what_could_be_an_option_or_says_no_version_is_refused(automated, wrong):
    with pytest.raises(ValidationError):
        automated.rollout(**wrong)


def test_the_phase_deploy_pushes_what_it_fetched_and_knows_what_served_before(automated, small_system):
    shop = small_system
    said = {"url": f"{automated.url}/version.json", "json_path": "build.version", "every": "50ms", "within": "8s"}
    rollout = {"kind": "push", "repository": str(automated.bare), "branch": "main", **said}
    shop.write({"source": {"kind": "git", "repository": str(automated.bare)}, "rollout": rollout})
    shop.phase("deploy", "v2")
    assert (shop.latest().state, shop.latest().previous_version) == ("done", "v1")
    assert automated.main("%s") == "Merge v2"
    assert [event for _, name, event in shop.steps() if name == "push v2 to main"] == ["started", "done"]
    assert (shop.home / "golive" / "systems" / "shop" / "current" / "version.json").is_file()
    with pytest.raises(InvalidVersion):
        shop.phase("deploy", "v9")
    assert automated.main("%s") == "Merge v2"
