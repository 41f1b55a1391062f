"""The audit trail: the rows of task_status_history."""

from __future__ import annotations

import logging
from typing import Any
from uuid import UUID

import psycopg
from psycopg.types.json import Jsonb

log = logging.getLogger("glad_labs")
Connection = psycopg.AsyncConnection[dict[str, Any]]
VALIDATION_FAILED = "validation_failed"
_COLUMNS = "id, task_id, old_status, new_status, reason, changed_by, timestamp, metadata"


async def append(
    conn: Connection,
    task_id: UUID,
    old_status: str | None,
    new_status: str,
    *,
    reason: str | None = None,
    changed_by: str | None = None,
    metadata: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Add an entry and return it; raises `psycopg.errors.UndefinedTable` on a schema without an audit trail."""
    cursor = await conn.execute(
        "INSERT INTO task_status_history (task_id, old_status, new_status, reason, changed_by, metadata) "  # noqa: S608
        f"VALUES (%s, %s, %s, %s, %s, %s) RETURNING {_COLUMNS}",
        [task_id, old_status, new_status, reason, changed_by, Jsonb(metadata or {})],
    )
    row = await cursor.fetchone()
    if row is None:
        raise psycopg.DataError("INSERT … RETURNING returned no row")
    return row


async def record(
    conn: Connection,
    task_id: UUID,
    old_status: str | None,
    new_status: str,
    *,
    reason: str | None = None,
    changed_by: str | None = None,
    metadata: dict[str, Any] | None = None,
) -> None:
    """Add an entry if there is an audit trail: a change by the old endpoint must also work on the old schema."""
    try:
        async with conn.transaction():
            await append(conn, task_id, old_status, new_status, reason=reason, changed_by=changed_by, metadata=metadata)
    except psycopg.errors.UndefinedTable:
        log.warning("warning: status of task %s changed without an audit entry: no task_status_history", task_id)


async def entries(conn: Connection, task_id: UUID, *, failures: bool, limit: int) -> list[dict[str, Any]]:
    """Return a task's entries, or only its validation failures, the newest first."""
    only = f"AND new_status = '{VALIDATION_FAILED}'" if failures else ""
    cursor = await conn.execute(
        f"SELECT {_COLUMNS} FROM task_status_history WHERE task_id = %s {only} "  # noqa: S608 - constants
        "ORDER BY timestamp DESC, id DESC LIMIT %s",
        [task_id, limit],
    )
    return await cursor.fetchall()
