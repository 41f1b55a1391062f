"""The statuses of a task, and which may follow which."""

from __future__ import annotations

from enum import StrEnum


class TaskStatus(StrEnum):
    """Where a task stands."""

    PENDING = "pending"
    IN_PROGRESS = "in_progress"
    AWAITING_APPROVAL = "awaiting_approval"
    APPROVED = "approved"
    PUBLISHED = "published"
    FAILED = "failed"
    ON_HOLD = "on_hold"
    REJECTED = "rejected"
    CANCELLED = "cancelled"


valid_transitions: dict[str, frozenset[str]] = {
    "pending": frozenset({"in_progress", "failed", "cancelled"}),
    "in_progress": frozenset({"awaiting_approval", "failed", "on_hold", "cancelled"}),
    "awaiting_approval": frozenset({"approved", "rejected", "in_progress", "cancelled"}),
    "approved": frozenset({"published", "on_hold", "cancelled"}),
    "published": frozenset({"on_hold"}),
    "failed": frozenset({"pending", "cancelled"}),
    "on_hold": frozenset({"in_progress", "cancelled"}),
    "rejected": frozenset({"in_progress", "cancelled"}),
    "cancelled": frozenset(),
}
