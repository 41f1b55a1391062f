"""How a list of tasks shows one, and of which version that is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

VERSION = "v1"


def shown(task: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the list tells of a task."""
    return {"id": task["id"], "title": task["title"], "schedule_kind": task["schedule_kind"]}
