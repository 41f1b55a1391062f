"""Real parts that a test may need: programs of the system."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import pytest


def require_part(program: str) -> Path:
    """Return where a program is; without it the test is skipped, or fails where CI promises that it is there.

    One beside Python is found too, as golive's own host finds it.
    """
    beside = str(Path(sys.executable).parent)
    path = os.pathsep.join((os.environ.get("PATH", os.defpath), beside, "/usr/sbin", "/sbin", "/usr/local/sbin"))
    found = shutil.which(program, path=path)
    if not found:
        missing(f"{program} is not installed")
    return Path(found)


def missing(reason: str) -> NoReturn:
    """Skip the test with the reason, or fail it where CI promises that every part is there."""
    if os.environ.get("CI"):
        pytest.fail(f"{reason}, and CI is set", pytrace=False)
    pytest.skip(reason)


@contextmanager
def small_disk(path: Path, size: str) -> Iterator[Path]:
    """Mount a disk of a size, which only root may do."""
    if os.geteuid() != 0:
        missing("only root can mount a small disk")
    path.mkdir()
    options = f"size={size},mode=755"
    argv = [str(require_part("mount")), "-t", "tmpfs", "-o", options, "golive-test", str(path)]
    done = subprocess.run(argv, check=False, capture_output=True, text=True)
    if done.returncode:
        missing(f"no small disk can be mounted: {done.stderr.strip()}")
    try:
        yield path
    finally:
        subprocess.run([require_part("umount"), "--lazy", path], check=True)
        path.rmdir()


def git(repository: Path, *arguments: str) -> str:
    """Run Git in a repository and return what it prints."""
    who = ("-c", "user.name=Test", "-c", "user.email=test@example.org", "-c", "init.defaultBranch=main")
    done = subprocess.run(("git", "-C", str(repository), *who, *arguments), check=True, capture_output=True, text=True)
    return done.stdout.strip()
