"""Real parts that a test may need: programs of the system."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import NoReturn

import pytest


def require_part(program: str) -> Path:
    """Return where a program is; without it the test is skipped, or fails where CI promises that it is there."""
    path = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin", "/usr/local/sbin"))
    found = shutil.which(program, path=path)
    if not found:
        missing(f"{program} is not installed")
    return Path(found)


def missing(reason: str) -> NoReturn:
    """Skip the test with the reason, or fail it where CI promises that every part is there."""
    if os.environ.get("CI"):
        pytest.fail(f"{reason}, and CI is set", pytrace=False)
    pytest.skip(reason)
