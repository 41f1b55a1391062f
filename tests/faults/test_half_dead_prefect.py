"""A Prefect server that says it is well and takes no change, as one does whose Redis is away."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import prefect
import pytest
from prefect import flow
from prefect.settings import PREFECT_API_URL, temporary_settings

from tasks.acting import act, alone, perform
from tasks.domain.errors import RolloutFailed
from tests.scripted import scripted

BROKEN = (500, {"exception_message": "Internal Server Error"})


class _Broken(dict[str, Any]):
    """Answers what it is asked for, and an error to all else."""

    def get(self, path: str, _default: Any = None) -> Any:
        return super().get(path, BROKEN)


@contextmanager
def half_dead(**answers: Any) -> Iterator[None]:
    with scripted({}) as server:
        server.answers = _Broken({"/api/health": (200, True), **answers})
        with temporary_settings({PREFECT_API_URL: f"{server.url}/api"}):
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
