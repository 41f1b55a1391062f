"""The trace that a change of status leaves: none in this version."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import psycopg


async def record(
    conn: psycopg.AsyncConnection[dict[str, Any]],
    task_id: UUID,
    old_status: str | None,
    new_status: str,
    *,
    reason: str | None = None,
    changed_by: str | None = None,
    metadata: dict[str, Any] | None = None,
) -> None:
    """Leave no trace."""
