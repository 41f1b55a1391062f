"""How a list of tasks shows one, and of which version that is.

Its fault: it tells when a task is due, and takes each for one with a time. From the first recurring task on that
anybody keeps, no list can be shown, while ``/health`` stays well.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

VERSION = "v3"


def shown(task: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the list tells of a task."""
    due = datetime.fromisoformat(task["schedule_expr"]).astimezone(UTC)
    return {"id": task["id"], "title": task["title"], "schedule_kind": task["schedule_kind"], "due": due.isoformat()}
