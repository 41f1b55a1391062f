"""The tutorial, run as it is written: each of its blocks in its order, in a scratch home."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tasks.domain.ports import RunningServer
from tests.documents import DOCS, blocks_of
from tests.parts import require_part
from tests.services import free_port
from tests.systems import new_database

ROOT = DOCS.parent

NOT_RUN = {
    "make .venv": "the tests run in what it makes",
    "export PATH=$PWD/.venv/bin:$PATH": "likewise",
    "export SHOP_DSN=postgresql://you:word@127.0.0.1:5432/shop": "the test has a database of its own",
    "golive up": "test_cli.py runs it: it takes a Prefect server of its own",
    "golive down": "likewise",
}
"""What the blocks that are no part of the script hold, each with the reason."""


@pytest.fixture
def scratch(
    open_directory: Path, pg_server: RunningServer, prefect_server: str
) -> Iterator[tuple[Path, dict[str, str]]]:
    """A home with golive on the path, a ledger and a database; what runs in it is ended afterwards."""
    shim = open_directory / "bin" / "golive"
    shim.parent.mkdir()
    shim.write_text(f'#!/bin/sh\nexec "{sys.executable}" -c "from deployments.cli import main; main()" "$@"\n')
    shim.chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{shim.parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "GOLIVE_HOME": str(open_directory / "home"),
        "GOLIVE_LEDGER_URL": new_database(pg_server, "ledger_*"),
        "SHOP_DSN": new_database(pg_server, "tutorial_*"),
        "PREFECT_API_URL": prefect_server,
        "PREFECT_LOGGING_LEVEL": "CRITICAL",
    }
    yield open_directory, environment
    _end(open_directory, environment)


def _end(home: Path, environment: dict[str, str]) -> None:
    script = """
from pathlib import Path
from contextlib import suppress
from tasks.context import production, site_of, world
from tasks.domain.errors import GoliveError
from tasks.settings import Settings
from tasks.spec.loading import load
settings = Settings.from_environment()
file = load(settings.systems / "shop" / "release.yaml")
target = site_of(file, settings, production(file, settings, world(), "v1")).target
for part in (file.platform, file.router):
    with suppress(GoliveError):
        part.close(target)
"""
    there = {**environment, "GOLIVE_SYSTEMS": str(home / "systems")}
    subprocess.run([sys.executable, "-c", script], env=there, check=True, timeout=60, cwd=ROOT)


def test_all_that_is_not_run_is_declared() -> None:
    shown = [block for block in blocks_of(DOCS / "tutorial.md") if block.language != "sh"]
    assert {command for block in shown for command in block.commands()} == set(NOT_RUN)


@pytest.mark.timeout(400)
def test_the_tutorial_does_what_it_says(scratch: tuple[Path, dict[str, str]]) -> None:
    require_part("git")
    home, environment = scratch
    port = free_port()
    script = "\n".join(block.text for block in blocks_of(DOCS / "tutorial.md") if block.language == "sh")
    done = subprocess.run(
        ["bash", "-e", "-c", script.replace("8000", str(port))],
        cwd=home, env=environment, capture_output=True, text=True, check=False, timeout=360,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    for words in ("shop, 2 checks, 2 triggers", "pending: migrations/0001_colour.sql", "is live and watched",
                  "shop v1 serves again", "rolled_back"):  # fmt: skip
        assert words in done.stdout
    assert httpx.get(f"http://127.0.0.1:{port}/", trust_env=False).text == "[(1, 'pear')]"
