"""A Prefect server that says it is well and takes no change, as one does whose Redis is away, or that says nothing."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import prefect
import pytest
from prefect import flow
from prefect.settings import PREFECT_API_URL, temporary_settings

from tasks.acting import act, alone, perform
from tasks.domain.errors import RolloutFailed
from tasks.domain.ports import RunningServer
from tasks.domain.release import State
from tests.flows import a_system
from tests.scripted import scripted
from tests.systems import without_prefect
from tests.watched import deploy, live_under_watch

BROKEN = (500, {"exception_message": "Internal Server Error"})
ROOT = Path(__file__).resolve().parents[2]


class _Broken(dict[str, Any]):
    """Answers what it is asked for, and an error to all else."""

    def get(self, path: str, _default: Any = None) -> Any:
        return super().get(path, BROKEN)


@contextmanager
def broken(answers: dict[str, Any]) -> Iterator[str]:
    """Run a server that answers what it is given, and an error to all else; give the address of its API."""
    with scripted({}) as server:
        server.answers = _Broken(answers)
        yield f"{server.url}/api"


@contextmanager
def silent() -> Iterator[str]:
    """Give the address of an API that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=50) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/api"


@contextmanager
def half_dead(**answers: Any) -> Iterator[None]:
    with broken({"/api/ready": (200, True), **answers}) as api, temporary_settings({PREFECT_API_URL: api}):
        yield


@act
def change() -> bool:
    return alone()


@flow
async def phase() -> bool:
    return change()


@flow
async def failing() -> None:
    raise RolloutFailed("the new version did not take over")


@pytest.mark.parametrize("answers", [{}, {"/api/admin/version": (200, json.dumps(prefect.__version__))}])
def test_what_must_happen_happens_without_a_server_that_takes_no_change(answers: dict[str, Any]) -> None:
    with half_dead(**answers):
        assert asyncio.run(perform(phase)) is True


def test_what_fails_by_itself_is_not_taken_for_the_servers_trouble() -> None:
    with half_dead(), pytest.raises(RolloutFailed):
        asyncio.run(perform(failing))


def rolled_back_from_the_terminal(api: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "deployments.cli", "rollback", "shop", "--reason", "orders are lost", "--by", "ann"],
        env={**os.environ, "PREFECT_API_URL": api},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )


@pytest.mark.timeout(600)
def test_a_person_rolls_back_from_the_terminal_though_prefect_is_silent_or_answers_only_errors(
    pg_server: RunningServer,
) -> None:
    with a_system(pg_server) as system, without_prefect():
        deploy(system)
        release = live_under_watch(system, "v2")
        with silent() as api:
            done = rolled_back_from_the_terminal(api)
        assert (done.returncode, done.stdout.strip()) == (0, "shop v1 serves again"), done.stderr
        assert "without Prefect" in done.stderr
        assert (system.serving(), system.ledger.releases.get(release).state) == ("v1", State.ROLLED_BACK)
        with broken({}) as api:
            again = rolled_back_from_the_terminal(api)
        assert again.returncode == 3
        assert f"{release} is rolled_back" in again.stderr
        assert "Traceback" not in done.stderr + again.stderr
        assert system.serving() == "v1"
