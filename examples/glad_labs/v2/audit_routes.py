"""The endpoints that came with the audit trail."""

from __future__ import annotations

import logging
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import content_tasks
import history
from content_tasks import StatusUpdate
from enhanced_status_change_service import PostgresStore, change_status
from fastapi import APIRouter, HTTPException, Query
from pydantic import BaseModel, Field
from service import Caller, Connection
from task_routes import found
from task_status import TaskStatus

log = logging.getLogger("glad_labs")
router = APIRouter(prefix="/api/tasks/{task_id}")
Limit = Annotated[int, Query(ge=1, le=50)]


class ValidatedStatus(BaseModel):
    """A status to be set if it may follow the present one; reason and metadata go into the audit trail."""

    status: TaskStatus
    reason: Annotated[str | None, Field(max_length=500)] = None
    metadata: dict[str, Any] = {}


class Changed(BaseModel):
    """A change that was made."""

    task_id: UUID
    old_status: str
    new_status: str
    changed_by: str


class Entry(BaseModel):
    """One entry of the audit trail."""

    id: int
    task_id: UUID
    old_status: str | None
    new_status: str
    reason: str | None
    changed_by: str | None
    timestamp: datetime
    metadata: dict[str, Any]


class Trail(BaseModel):
    """A task's entries, the newest first."""

    task_id: UUID
    count: int
    entries: list[Entry]


@router.put("/status/validated")
async def set_validated_status(conn: Connection, user: Caller, task_id: UUID, new: ValidatedStatus) -> Changed:
    """Set a task's status if it may follow the present one; 409 if not. Either leaves an entry."""
    update = StatusUpdate(new.status.value, user, new.reason, new.metadata)
    change = found(await change_status(PostgresStore(conn), task_id, update))
    if change.errors:
        log.warning("warning: status of task %s kept: %s", task_id, change.errors[0])
        raise HTTPException(409, "; ".join(change.errors))
    log.info("status of task %s: %s → %s by %s", task_id, change.old_status, change.new_status, user)
    return Changed(task_id=task_id, old_status=change.old_status, new_status=change.new_status, changed_by=user)


@router.get("/status-history")
async def status_history(conn: Connection, task_id: UUID, limit: Limit = 50) -> Trail:
    """Return a task's audit trail."""
    return await _trail(conn, task_id, limit, failures=False)


@router.get("/status-history/failures")
async def validation_failures(conn: Connection, task_id: UUID, limit: Limit = 50) -> Trail:
    """Return the changes of a task's status that were refused."""
    return await _trail(conn, task_id, limit, failures=True)


async def _trail(conn: Connection, task_id: UUID, limit: int, *, failures: bool) -> Trail:
    rows = await history.entries(conn, task_id, failures=failures, limit=limit)
    if not rows:
        found(await content_tasks.get_task(conn, task_id))
    return Trail.model_validate({"task_id": task_id, "count": len(rows), "entries": rows})
