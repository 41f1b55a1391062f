"""The endpoints under /api/tasks that there have always been."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, TypeVar
from uuid import UUID

import content_tasks
from content_tasks import StatusUpdate
from fastapi import APIRouter, HTTPException, Query
from pydantic import BaseModel, Field
from service import Caller, Connection
from task_status import TaskStatus

router = APIRouter(prefix="/api/tasks")
T = TypeVar("T")


class Task(BaseModel):
    """A task as the API shows it."""

    id: UUID
    title: str
    status: str
    metadata: dict[str, Any]
    created_at: datetime
    updated_at: datetime


class TaskPage(BaseModel):
    """Some tasks, the newest first."""

    status: str = "ok"
    count: int
    tasks: list[Task]


class NewTask(BaseModel):
    """A task to be stored."""

    title: Annotated[str, Field(min_length=1, max_length=200)]
    metadata: dict[str, Any] = {}


class NewStatus(BaseModel):
    """A status to be set; the metadata is merged into the task's own."""

    status: TaskStatus
    metadata: dict[str, Any] = {}


@router.get("")
async def list_tasks(
    conn: Connection,
    status: TaskStatus | None = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    offset: Annotated[int, Query(ge=0)] = 0,
) -> TaskPage:
    """Return tasks, the newest first."""
    rows = await content_tasks.list_tasks(conn, status, limit, offset)
    return TaskPage.model_validate({"count": len(rows), "tasks": rows})


@router.post("", status_code=201)
async def create_task(conn: Connection, task: NewTask) -> Task:
    """Store a pending task."""
    return Task.model_validate(await content_tasks.create_task(conn, task.title, task.metadata))


@router.get("/{task_id}")
async def get_task(conn: Connection, task_id: UUID) -> Task:
    """Return one task."""
    return Task.model_validate(found(await content_tasks.get_task(conn, task_id)))


@router.put("/{task_id}/status")
async def set_status(conn: Connection, user: Caller, task_id: UUID, new: NewStatus) -> Task:
    """Set a task's status, whatever it was."""
    update = StatusUpdate(new.status.value, user, metadata=new.metadata)
    return Task.model_validate(found(await content_tasks.update_task(conn, task_id, update)))


@router.delete("/{task_id}", status_code=204)
async def delete_task(conn: Connection, task_id: UUID) -> None:
    """Remove a task."""
    found(await content_tasks.delete_task(conn, task_id) or None)


def found(row: T | None) -> T:
    """Return the row; 404 if there is none."""
    if row is None:
        raise HTTPException(404, "Task not found")
    return row
