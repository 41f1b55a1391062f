"""Holds what a command prints with ``--json`` to the shape that the reference gives of it."""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any

from typer.testing import CliRunner

from deployments.cli import app
from deployments.shapes import RELEASE, SHAPES

MORE = {"watch", "status"}
"""Commands that print more of a release that is watched, or of a single one."""


def as_json(*words: str, code: int | Collection[int] = 0) -> Any:
    """Run a command with ``--json``, which must end with the code or one of them, and return what it printed."""
    seen = CliRunner().invoke(app, [*words, "--json"])
    assert seen.exit_code in ({code} if isinstance(code, int) else code), seen.output
    name = " ".join(words[:2]) if words[0] == "checklist" else words[0]
    shape = SHAPES[name]
    if shape.lines:
        found: Any = [json.loads(line) for line in seen.stdout.splitlines()]
    else:
        found = json.loads(seen.stdout)
    for one in found if shape.many or shape.lines else [found]:
        held_to(name, shape.keys, one)
    return found


def held_to(name: str, keys: Any, found: Any) -> None:
    """Require of a value that it has the keys of its shape."""
    if name in MORE:
        assert (set(keys) <= set(found)) or (set(RELEASE) <= set(found)), name
    else:
        assert set(found) == set(keys), name
    if isinstance(found.get("release"), dict):
        assert set(found["release"]) == set(RELEASE), name
