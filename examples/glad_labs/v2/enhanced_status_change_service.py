"""Changing a status with validation, each attempt leaving an entry in the audit trail."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol
from uuid import UUID

import content_tasks
import history
import psycopg
from content_tasks import StatusUpdate
from status_transition_validator import problems


class Store(Protocol):
    """Where tasks and their audit trail are kept."""

    def transaction(self) -> AbstractAsyncContextManager[Any]:
        """Make what happens inside all or nothing."""
        ...

    async def lock_status(self, task_id: UUID) -> str | None:
        """Return the task's status and keep it until the transaction ends."""
        ...

    async def set_status(self, task_id: UUID, old: str, update: StatusUpdate) -> None:
        """Set the status and add an entry."""
        ...

    async def add_failure(self, task_id: UUID, old: str, update: StatusUpdate, errors: list[str]) -> None:
        """Add an entry for a change that was refused."""
        ...


@dataclass(frozen=True)
class StatusChange:
    """How an attempt ended: ``errors`` is empty if the status was changed."""

    task_id: UUID
    old_status: str
    new_status: str
    errors: list[str] = field(default_factory=list)


async def change_status(store: Store, task_id: UUID, update: StatusUpdate) -> StatusChange | None:
    """Change a task's status if that is a valid transition, and record the attempt; None if there is no such task."""
    async with store.transaction():
        old = await store.lock_status(task_id)
        if old is None:
            return None
        errors = problems(old, update.status)
        if errors:
            await store.add_failure(task_id, old, update, errors)
        else:
            await store.set_status(task_id, old, update)
    return StatusChange(task_id, old, update.status, errors)


class PostgresStore:
    """Tasks and audit trail in PostgreSQL, over one connection."""

    def __init__(self, conn: content_tasks.Connection) -> None:
        self._conn = conn

    def transaction(self) -> AbstractAsyncContextManager[psycopg.AsyncTransaction]:
        """Make what happens inside all or nothing."""
        return self._conn.transaction()

    async def lock_status(self, task_id: UUID) -> str | None:
        """Return the task's status and keep it until the transaction ends."""
        return await content_tasks.lock_status(self._conn, task_id)

    async def set_status(self, task_id: UUID, old: str, update: StatusUpdate) -> None:
        """Set the status and add an entry; raises `psycopg.errors.UndefinedTable` where none can be kept."""
        await content_tasks.write_status(self._conn, task_id, update)
        await self._append(task_id, old, update.status, update, update.metadata)

    async def add_failure(self, task_id: UUID, old: str, update: StatusUpdate, errors: list[str]) -> None:
        """Add an entry for a change that was refused."""
        context = {"requested_status": update.status, "errors": errors, "context": update.metadata or {}}
        await self._append(task_id, old, history.VALIDATION_FAILED, update, context)

    async def _append(
        self, task_id: UUID, old: str, new: str, update: StatusUpdate, metadata: Mapping[str, Any] | None
    ) -> None:
        await history.append(
            self._conn,
            task_id,
            old,
            new,
            reason=update.reason,
            changed_by=update.changed_by,
            metadata=dict(metadata or {}),
        )
