from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from pydantic import ValidationError

from tasks.checks.git import Git
from tasks.domain.errors import CommandFailed
from tasks.domain.ports import World
from tasks.domain.target import Target
from tests.gits import a_repository, commit, run_git
from tests.looks import F, P, U, look


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    return a_repository(tmp_path / "repository", {"app.py": "1", "migrations/001.sql": "SELECT 1", "old.env": "A=1"})


@pytest.fixture
def target(world: World, tmp_path: Path) -> Target:
    return Target(world, "demo", "v2", root=tmp_path, release_dir=tmp_path)


def test_a_version_is_merged_and_builds_upon_the_one_before(target, repository):
    run_git(repository, "tag", "v1")
    run_git(repository, "checkout", "--quiet", "-b", "feature")
    commit(repository, {"app.py": "2"})
    run_git(repository, "tag", "v2")
    fields = {"repository": str(repository)}
    assert look(Git, target, **fields, after="v1").outcome is P
    reading = look(Git, target, **fields, merged_into="main")
    assert (reading.outcome, reading.seen) == (F, "not merged into main: failed")
    run_git(repository, "checkout", "--quiet", "main")
    run_git(repository, "merge", "--quiet", "--no-ff", "-m", "merge", "feature")
    assert look(Git, target, **fields, merged_into="main").outcome is P
    assert look(Git, target, **fields, commit="v1", after="v2").outcome is F
    assert look(Git, target, **fields, merged_into="no-branch").outcome is U
    assert look(Git, target, **fields, commit="v3").seen == "there is no v3"


def test_the_mirror_of_the_git_source_is_looked_at_by_default(target, repository, tmp_path):
    run_git(repository, "tag", "v2")
    subprocess.run(["git", "clone", "--quiet", "--mirror", repository, tmp_path / "mirror.git"], check=True)
    assert look(Git, target, merged_into="main", tracked=["migrations/*.sql"]).outcome is P


def test_a_tag_must_be_one_and_signed_where_that_is_asked(target, repository):
    run_git(repository, "tag", "v1")
    run_git(repository, "tag", "--annotate", "--message", "second", "v2")
    fields = {"repository": str(repository)}
    assert look(Git, target, **fields, commit="v1", tag="any").outcome is P
    assert look(Git, target, **fields, commit="v1", tag="annotated").seen == "tag v1 is not annotated: failed"
    assert look(Git, target, **fields, tag="annotated").outcome is P
    assert look(Git, target, **fields, tag="signed").seen == "tag v2: no good signature: failed"
    assert look(Git, target, **fields, commit="main", tag="any").seen == "main is no tag: failed"


def test_a_work_tree_must_be_clean_and_at_the_commit(target, repository):
    fields = {"repository": str(repository), "commit": "main", "clean": True}
    assert look(Git, target, **fields).outcome is P
    (repository / "new file").write_text("x")
    assert look(Git, target, **fields).seen == "new file not committed: failed"
    commit(repository, {})
    run_git(repository, "checkout", "--quiet", "HEAD~1")
    assert look(Git, target, **fields).outcome is F


def test_a_remote_branch_must_be_at_the_commit(target, repository, tmp_path):
    run_git(tmp_path, "clone", "--quiet", str(repository), "clone")
    fields = {"repository": str(tmp_path / "clone"), "commit": "main", "pushed": "origin/main"}
    assert look(Git, target, **fields).outcome is P
    commit(tmp_path / "clone", {"more": "1"})
    assert look(Git, target, **fields).outcome is F


def test_what_must_not_be_in_git_is_found_even_if_it_was_removed_again(target, repository):
    (repository / "old.env").unlink()
    commit(repository, {"large.bin": "x" * 5000})
    fields = {"repository": str(repository), "commit": "main"}
    assert look(Git, target, **fields, not_tracked=["**/*.env"], max_file="5kB").outcome is P
    assert look(Git, target, **fields, never_tracked=["**/*.env"]).seen == "old.env was once committed: failed"
    reading = look(Git, target, **fields, not_tracked=["*.bin"], max_file="4kB", tracked=["*.md"])
    for words in ("large.bin is tracked", "large.bin (5.0 kB) > 4.0 kB", "*.md is not tracked"):
        assert f"{words}: failed" in reading.seen


def test_a_repository_that_cannot_be_read_is_no_failure_and_an_option_is_no_branch(target, tmp_path):
    with pytest.raises(CommandFailed):
        look(Git, target, repository=str(tmp_path / "none"))
    for wrong in ("--all", "a b", "a..b:c"):
        with pytest.raises(ValidationError):
            Git.model_validate({"name": "it", "merged_into": wrong})
