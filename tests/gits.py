"""A Git repository with what a test puts into it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

_ENVIRONMENT = {
    "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1", "GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@x",
    "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@x",
}  # fmt: skip


def run_git(directory: Path, *arguments: str) -> str:
    """Run Git in a directory and return what it prints."""
    ended = subprocess.run(
        ["git", "-C", directory, *arguments], env=os.environ | _ENVIRONMENT, capture_output=True, text=True, check=True
    )
    return ended.stdout.strip()


def commit(directory: Path, files: Mapping[str, str]) -> str:
    """Write files and commit all there is."""
    for name, text in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    run_git(directory, "add", "--all", "--force")
    run_git(directory, "commit", "--quiet", "--allow-empty", "--message", "change")
    return run_git(directory, "rev-parse", "HEAD")


def a_repository(directory: Path, files: Mapping[str, str], *, tag: str = "") -> Path:
    """Make a repository with one commit on ``main``."""
    directory.mkdir(parents=True)
    run_git(directory, "init", "--quiet", "--initial-branch=main")
    commit(directory, files)
    if tag:
        run_git(directory, "tag", tag)
    return directory
