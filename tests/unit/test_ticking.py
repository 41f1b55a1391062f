"""What a person sees of the steps of a flow that runs in the command line."""

from __future__ import annotations

import io
import logging
import sys

import pytest

from deployments.ticking import ticking
from tasks.acting import LOG, Did


@pytest.fixture(autouse=True)
def _as_while_a_release_is_driven(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LOG, "propagate", False)
    monkeypatch.setattr(LOG, "level", logging.INFO)


def step(phase: str, name: str, event: str, took: float = 0.0) -> None:
    LOG.info("%s: %s", phase, name, extra={"did": Did(phase, name, event, took)})  # type: ignore[arg-type]


def a_release(phases: tuple[str, ...] = ()) -> None:
    with ticking(phases):
        LOG.info("a check, which is no step")
        step("backup", "take [the] backup", "started")
        step("backup", "take [the] backup", "done", 12.0)
        step("migrate", "migrate to postgresql://ana:hidden-word@db/shop", "started")
        step("migrate", "migrate to postgresql://ana:hidden-word@db/shop", "failed", 3.0)
    step("health", "after the flow", "done")


def test_without_a_terminal_there_is_a_line_for_each_step_that_has_ended(capsys: pytest.CaptureFixture[str]) -> None:
    a_release()
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.splitlines() == [
        "✓ backup: take [the] backup (12.0 s)",
        "✗ migrate: migrate to postgresql://ana:•••@db/shop (3.0 s)",
    ]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_on_a_terminal_the_step_at_hand_and_the_phases_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Terminal()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", screen)
    a_release(("preflight", "backup", "rehearse", "migrate"))
    said = screen.getvalue()
    assert "✓ backup: take [the] backup (12.0 s)" in said
    assert "✗ migrate: migrate to" in said
    assert "migrate, 3 of 4 phases done" in said
    assert "after the flow" not in said
    assert "hidden-word" not in said


def test_a_terminal_that_went_away_does_not_end_what_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    closed = io.StringIO()
    monkeypatch.setattr(sys, "stderr", closed)
    with ticking():
        closed.close()
        step("backup", "take the backup", "done", 12.0)
