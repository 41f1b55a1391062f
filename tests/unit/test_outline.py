from __future__ import annotations

import pytest
from prefect import flow

from flows.release import BEFORE, IN_PRODUCTION
from flows.rollback import rollback
from tasks.acting import act
from tasks.outline import told_by
from tasks.report import publish_report
from tasks.spec.commands import commands_in
from tasks.spec.loading import load
from tests.systems import SYSTEMS


@act
def first() -> str:
    """Do the first thing; raises `Refused` if that is nothing."""
    return "first"


@act
def second() -> None:
    """Do the second thing and return nothing. More is said here."""


@flow
async def told(release: str) -> None:
    if not release:
        second()
    try:
        second() if first() else None
    except ValueError:
        first()


def test_steps_are_told_in_the_order_of_the_flow_as_a_release_runs_it() -> None:
    assert [one.does for one in told_by(told)] == ["Do the first thing", "Do the second thing"]


@pytest.mark.parametrize("one", [*BEFORE.values(), *IN_PRODUCTION.values(), rollback], ids=lambda one: one.name)
def test_every_phase_tells_its_steps_in_short_sentences(one: object) -> None:
    steps = told_by(one)  # type: ignore[arg-type]
    assert steps
    for step in steps:
        assert step.does[0].isupper()
        assert len(step.does) < 160, step.does
        assert "`" not in step.does


def test_the_commands_of_a_release_file_are_found_where_they_stand() -> None:
    found = dict(commands_in(load(SYSTEMS / "neurohub" / "release.yaml")))
    assert found["migration.command"] == ("{python}", "-m", "alembic")
    assert found["platform.processes.api.command"][:3] == ("{python}", "-m", "uvicorn")
    assert found["checks.preflight[all 16 migration tests pass].argv"][2] == "pytest"


def test_a_step_is_shown_in_prefect_by_its_words_without_a_hash() -> None:
    assert publish_report.task_run_name == "publish report"
