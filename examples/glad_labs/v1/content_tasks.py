"""The rows of content_tasks: reading them, and every way to change them."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import history
import psycopg
from psycopg.types.json import Jsonb

log = logging.getLogger("glad_labs")
Connection = psycopg.AsyncConnection[dict[str, Any]]
_COLUMNS = "id, title, status, metadata, created_at, updated_at"


@dataclass(frozen=True)
class StatusUpdate:
    """A status to set, by whom, why, and the metadata that goes with it."""

    status: str
    changed_by: str
    reason: str | None = None
    metadata: dict[str, Any] | None = None


async def list_tasks(conn: Connection, status: str | None, limit: int, offset: int) -> list[dict[str, Any]]:
    """Return tasks, the newest first."""
    where = "" if status is None else "WHERE status = %(status)s"
    cursor = await conn.execute(
        f"SELECT {_COLUMNS} FROM content_tasks {where} "  # noqa: S608 - both parts are constants
        "ORDER BY created_at DESC LIMIT %(limit)s OFFSET %(offset)s",
        {"status": status, "limit": limit, "offset": offset},
    )
    return await cursor.fetchall()


async def get_task(conn: Connection, task_id: UUID) -> dict[str, Any] | None:
    """Return a task, or None if there is none of that id."""
    cursor = await conn.execute(
        f"SELECT {_COLUMNS} FROM content_tasks WHERE id = %s",  # noqa: S608 - a constant
        [task_id],
    )
    return await cursor.fetchone()


async def create_task(conn: Connection, title: str, metadata: dict[str, Any]) -> dict[str, Any]:
    """Store a pending task and return it."""
    cursor = await conn.execute(
        f"INSERT INTO content_tasks (title, metadata) VALUES (%s, %s) RETURNING {_COLUMNS}",  # noqa: S608 - a constant
        [title, Jsonb(metadata)],
    )
    row = await cursor.fetchone()
    if row is None:
        raise psycopg.DataError("INSERT … RETURNING returned no row")
    return row


async def delete_task(conn: Connection, task_id: UUID) -> bool:
    """Remove a task with all that hangs on it; False if there was none."""
    cursor = await conn.execute("DELETE FROM content_tasks WHERE id = %s", [task_id])
    return cursor.rowcount == 1


async def lock_status(conn: Connection, task_id: UUID) -> str | None:
    """Return a task's status and keep others from changing it until the transaction ends; None if there is no task."""
    cursor = await conn.execute("SELECT status FROM content_tasks WHERE id = %s FOR UPDATE", [task_id])
    row = await cursor.fetchone()
    return None if row is None else str(row["status"])


async def write_status(conn: Connection, task_id: UUID, update: StatusUpdate) -> dict[str, Any] | None:
    """Set a task's status, merge the metadata into its own, and return the task; None if there is none.

    Metadata is stored as a JSON object, never as a string that holds one.
    """
    cursor = await conn.execute(
        "UPDATE content_tasks SET status = %s, metadata = metadata || %s, updated_at = clock_timestamp() "  # noqa: S608
        f"WHERE id = %s RETURNING {_COLUMNS}",
        [update.status, Jsonb(update.metadata or {}), task_id],
    )
    return await cursor.fetchone()


async def update_task(conn: Connection, task_id: UUID, update: StatusUpdate) -> dict[str, Any] | None:
    """Set a task's status, leave a trace of that, and return the task; None if there is none."""
    async with conn.transaction():
        former = await lock_status(conn, task_id)
        if former is None:
            return None
        row = await write_status(conn, task_id, update)
        await history.record(
            conn,
            task_id,
            former,
            update.status,
            reason=update.reason,
            changed_by=update.changed_by,
            metadata=update.metadata,
        )
    log.info("status of task %s: %s → %s by %s", task_id, former, update.status, update.changed_by)
    return row
