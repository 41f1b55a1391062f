"""What was found of one thing that golive rests on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tasks.domain.outcome import Outcome


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at; ``do`` says what a person does about it if it is not well."""

    about: str
    outcome: Outcome
    seen: str
    expected: str = ""
    do: str = ""


def well(about: str, seen: str) -> Finding:
    """Return a finding with which nothing is wrong."""
    return Finding(about, Outcome.PASSED, seen)


def wrong(about: str, seen: str, expected: str, do: str) -> Finding:
    """Return a finding that a person must do something about."""
    return Finding(about, Outcome.FAILED, seen, expected, do)


def not_known(about: str, seen: str, expected: str, do: str = "") -> Finding:
    """Return a finding that says nothing, neither well nor wrong."""
    return Finding(about, Outcome.UNKNOWN, seen, expected, do)


Look = Callable[[], Finding]
"""Looks at one thing."""
