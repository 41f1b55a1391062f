"""A change of status does what it should to a task and its audit trail, wherever they are kept."""

# ruff: noqa: PT009, PT027 - unittest, because a version's tests must run where nothing but the service is installed
from __future__ import annotations

import unittest
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID, uuid4

from content_tasks import StatusUpdate
from enhanced_status_change_service import StatusChange, change_status


class MemoryStore:
    """Tasks and audit trail in memory; a transaction that raises leaves nothing behind."""

    def __init__(self) -> None:
        self.tasks: dict[UUID, str] = {}
        self.trail: list[dict[str, Any]] = []
        self.breaks = False

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[None]:
        before = dict(self.tasks), list(self.trail)
        try:
            yield
        except OSError:
            self.tasks, self.trail = before
            raise

    async def lock_status(self, task_id: UUID) -> str | None:
        return self.tasks.get(task_id)

    async def set_status(self, task_id: UUID, old: str, update: StatusUpdate) -> None:
        self.tasks[task_id] = update.status
        self._append(task_id, old, update.status, update)

    async def add_failure(self, task_id: UUID, old: str, update: StatusUpdate, errors: list[str]) -> None:
        self._append(task_id, old, "validation_failed", update, errors)

    def _append(self, task_id: UUID, old: str, new: str, update: StatusUpdate, errors: list[str] | None = None) -> None:
        if self.breaks:
            raise OSError("the trail cannot be written")
        self.trail.append({"task": task_id, "old": old, "new": new, "update": update, "errors": errors})


class ServiceTest(unittest.IsolatedAsyncioTestCase):
    """What an attempt does."""

    def setUp(self) -> None:
        self.store, self.task = MemoryStore(), uuid4()
        self.store.tasks[self.task] = "pending"

    async def attempt(self, status: str, **more: Any) -> StatusChange | None:
        return await change_status(self.store, self.task, StatusUpdate(status, "ann", **more))

    async def test_a_valid_change_sets_the_status(self) -> None:
        await self.attempt("in_progress")
        self.assertEqual(self.store.tasks[self.task], "in_progress")

    async def test_a_valid_change_reports_both_statuses(self) -> None:
        self.assertEqual(await self.attempt("in_progress"), StatusChange(self.task, "pending", "in_progress"))

    async def test_a_valid_change_leaves_exactly_one_entry(self) -> None:
        await self.attempt("in_progress")
        self.assertEqual([(entry["old"], entry["new"]) for entry in self.store.trail], [("pending", "in_progress")])

    async def test_an_invalid_change_keeps_the_status(self) -> None:
        await self.attempt("published")
        self.assertEqual(self.store.tasks[self.task], "pending")

    async def test_an_invalid_change_is_recorded_as_a_validation_failure(self) -> None:
        await self.attempt("published")
        self.assertEqual([entry["new"] for entry in self.store.trail], ["validation_failed"])

    async def test_an_invalid_change_says_why(self) -> None:
        change = await self.attempt("published")
        self.assertIsNotNone(change)
        self.assertEqual(change and change.errors, self.store.trail[0]["errors"])

    async def test_the_user_the_reason_and_the_metadata_reach_the_trail(self) -> None:
        await self.attempt("in_progress", reason="go", metadata={"deep": {"ä": [1]}})
        self.assertEqual(self.store.trail[0]["update"], StatusUpdate("in_progress", "ann", "go", {"deep": {"ä": [1]}}))

    async def test_an_unknown_task_changes_nothing(self) -> None:
        self.store.tasks.clear()
        self.assertIsNone(await self.attempt("in_progress"))
        self.assertEqual(self.store.trail, [])

    async def test_a_trail_that_cannot_be_written_undoes_the_change(self) -> None:
        self.store.breaks = True
        with self.assertRaises(OSError):
            await self.attempt("in_progress")
        self.assertEqual(self.store.tasks[self.task], "pending")

    async def test_a_whole_life_is_recorded_in_order(self) -> None:
        for status in ("in_progress", "awaiting_approval", "approved", "published"):
            await self.attempt(status)
        self.assertEqual([entry["old"] for entry in self.store.trail][1:], [e["new"] for e in self.store.trail][:-1])


if __name__ == "__main__":
    unittest.main()
