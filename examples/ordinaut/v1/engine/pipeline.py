"""What a task does: its pipeline's steps, one after the other."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

STEPS: dict[str, Callable[[Mapping[str, Any]], Any]] = {
    "noop": lambda _: None,
    "echo": lambda step: step.get("text", ""),
    "sleep": lambda step: time.sleep(min(float(step.get("seconds", 0)), 60.0)),
}


def run(payload: Mapping[str, Any]) -> dict[str, Any]:
    """Run a pipeline and return what each step gave; raises `ValueError` for a step that nobody knows."""
    given: dict[str, Any] = {}
    for step in validated(payload):
        given[step["id"]] = STEPS[step["uses"]](step)
    return given


def validated(payload: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return a pipeline's steps; raises `ValueError` if they cannot be run."""
    steps = payload.get("pipeline")
    if not isinstance(steps, list) or not steps:
        raise ValueError("payload.pipeline must be a list of steps")
    for step in steps:
        if not isinstance(step, dict) or not step.get("id") or step.get("uses") not in STEPS:
            raise ValueError(f"a step needs an id, and uses one of {', '.join(sorted(STEPS))}")
    return steps
