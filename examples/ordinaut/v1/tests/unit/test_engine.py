from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from engine import pipeline, schedule, tokens

NOW = datetime(2025, 1, 10, 9, tzinfo=UTC)


@pytest.mark.parametrize(
    ("kind", "expression", "due"),
    [
        ("once", "2025-01-10T11:00:00+01:00", NOW + timedelta(hours=1)),
        ("every", "30s", NOW + timedelta(seconds=30)),
        ("every", "2h", NOW + timedelta(hours=2)),
    ],
)
def test_a_task_is_due_when_its_schedule_says(kind, expression, due):
    assert schedule.first_run(kind, expression, NOW) == due


@pytest.mark.parametrize(
    ("kind", "expression"), [("once", "tomorrow"), ("once", "2025-01-10T11:00"), ("every", "0s"), ("often", "5m")]
)
def test_what_is_no_schedule_is_refused(kind, expression):
    with pytest.raises(ValueError, match=r"schedule|isoformat|zone"):
        schedule.first_run(kind, expression, NOW)


def test_a_pipeline_gives_what_each_step_gave():
    steps = [{"id": "a", "uses": "noop"}, {"id": "b", "uses": "echo", "text": "x"}, {"id": "c", "uses": "sleep"}]
    assert pipeline.run({"pipeline": steps}) == {"a": None, "b": "x", "c": None}


@pytest.mark.parametrize("payload", [{}, {"pipeline": []}, {"pipeline": [{"uses": "noop"}]}, {"pipeline": [{"id": 1}]}])
def test_a_pipeline_that_cannot_be_run_is_refused(payload):
    with pytest.raises(ValueError, match=r"pipeline|step"):
        pipeline.run(payload)


def test_a_token_is_good_until_it_expires_and_for_its_key_alone():
    token = tokens.issue("system", "key")
    assert tokens.agent_of(token, "key") == "system"
    assert tokens.agent_of(token, "another") is None
    assert tokens.agent_of(tokens.issue("system", "key", lives=-1), "key") is None
    assert tokens.agent_of("none", "key") is None
