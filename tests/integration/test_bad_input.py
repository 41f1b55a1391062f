"""Every command, given what cannot be used, ends with a line that says so and never with a traceback."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main
from typer.testing import CliRunner

from deployments.cli import app
from deployments.output import BUG
from deployments.reference import commands_of
from tasks import context
from tasks.domain.ports import RunningServer
from tests.services import free_port
from tests.systems import new_database

COMMANDS = dict(commands_of(typer.main.get_command(app)))
RUN_ON = {"guard", "keep-guard", "up", "down", "slack", "metrics"}
"""Commands that would begin to serve, or go round until there is a ledger."""
BAD = {
    "SYSTEM": "no-such-system", "VERSION": "../v 2", "ID": "no-such-release", "SYSTEM|ID": "no-such-thing",
    "SYSTEM|PATH": "./gone/release.yaml", "DIRECTORY|NAME": "./gone", "FILE.md": "gone.md",
}  # fmt: skip

KNOWN = {"backup_id": "999999", "topic": "cli", "name": "backup"}
"""Values that a word must have to be taken as one at all."""


@pytest.fixture(autouse=True)
def _environment() -> Iterator[None]:
    before = dict(os.environ)
    context.ledger.cache_clear()
    context.world.cache_clear()
    yield
    context.ledger.cache_clear()
    context.world.cache_clear()
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="module")
def empty_ledger(pg_server: RunningServer) -> str:
    """The DSN of a ledger with nothing in it."""
    return new_database(pg_server, "ledger_*")


def a_place(tmp_path: Path, ledger: str) -> None:
    """Let golive find an empty home without Prefect, and this ledger."""
    for name in [name for name in os.environ if name.startswith(("GOLIVE_", "PREFECT_"))]:
        del os.environ[name]
    (tmp_path / "systems").mkdir()
    os.environ["GOLIVE_HOME"] = str(tmp_path / "home")
    os.environ["GOLIVE_SYSTEMS"] = str(tmp_path / "systems")
    os.environ["GOLIVE_LEDGER_URL"] = ledger
    os.environ["PREFECT_API_URL"] = f"http://127.0.0.1:{free_port()}/api"


def bad_words(name: str) -> list[str]:
    """Return a command with a value for everything that it requires, none of which can be used."""
    command = COMMANDS[name]
    words = name.split()
    for one in command.params:
        if one.param_type_name == "argument" and (one.required or one.metavar in BAD):
            words.append(KNOWN.get(one.name) or BAD.get(one.metavar or one.name.upper(), "zzz"))
        elif one.required:
            words += [one.opts[0], "${env:GOLIVE_NO_SUCH_VARIABLE}" if one.opts[0] == "--to" else "x"]
    return words


def held_to(seen: Any, home: Path) -> None:
    said = seen.output
    assert seen.exit_code != BUG, said
    assert "Traceback" not in seen.stderr
    assert seen.exception is None or isinstance(seen.exception, SystemExit), repr(seen.exception)
    assert not (home / "errors").exists()
    if seen.exit_code:
        assert seen.stderr.strip() or seen.stdout.strip()


@pytest.mark.parametrize("name", [name for name in COMMANDS if name not in RUN_ON])
def test_what_there_is_not_is_told_in_a_line(name: str, tmp_path: Path, empty_ledger: str) -> None:
    a_place(tmp_path, empty_ledger)
    seen = CliRunner().invoke(app, bad_words(name))
    held_to(seen, tmp_path / "home")
    if set(bad_words(name)) & set(BAD.values()):
        assert seen.exit_code in {2, 3, 6, 7}, seen.output


@pytest.mark.parametrize("name", [name for name in COMMANDS if name not in RUN_ON])
def test_a_ledger_that_is_away_is_told_in_a_line(name: str, tmp_path: Path) -> None:
    a_place(tmp_path, f"postgresql://ana:hidden-word@127.0.0.1:{free_port()}/ledger?connect_timeout=2")
    words = [word.replace("no-such-system", "shop") for word in bad_words(name)]
    if "shop" in words:
        assert CliRunner().invoke(app, ["init", "shop"]).exit_code == 0
    seen = CliRunner().invoke(app, [word.replace("../v 2", "v2") for word in words])
    held_to(seen, tmp_path / "home")
    assert "hidden-word" not in seen.output


@pytest.mark.parametrize("name", list(COMMANDS))
def test_an_option_that_there_is_not_is_a_fault_of_use(name: str) -> None:
    seen = CliRunner().invoke(app, [*name.split(), "--no-such-option"])
    assert seen.exit_code == 2
    assert "Traceback" not in seen.output
