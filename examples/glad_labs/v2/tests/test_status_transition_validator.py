"""Transitions are allowed and refused as the table says, with a message that helps."""

# ruff: noqa: PT009 - unittest, because a version's tests must run where nothing but the service is installed
from __future__ import annotations

import unittest

from status_transition_validator import problems
from task_status import valid_transitions


class ValidatorTest(unittest.TestCase):
    """What the validator says of each kind of step."""

    def allowed(self, old: str, new: str) -> None:
        self.assertEqual(problems(old, new), [])

    def refused(self, old: str, new: str) -> None:
        self.assertEqual(len(problems(old, new)), 1)

    def test_pending_may_start(self) -> None:
        self.allowed("pending", "in_progress")

    def test_pending_may_not_be_published(self) -> None:
        self.refused("pending", "published")

    def test_work_may_be_handed_in(self) -> None:
        self.allowed("in_progress", "awaiting_approval")

    def test_work_may_fail(self) -> None:
        self.allowed("in_progress", "failed")

    def test_work_may_not_approve_itself(self) -> None:
        self.refused("in_progress", "approved")

    def test_what_waits_may_be_approved(self) -> None:
        self.allowed("awaiting_approval", "approved")

    def test_what_waits_may_be_rejected(self) -> None:
        self.allowed("awaiting_approval", "rejected")

    def test_what_is_approved_may_be_published(self) -> None:
        self.allowed("approved", "published")

    def test_what_is_approved_may_not_be_pending_again(self) -> None:
        self.refused("approved", "pending")

    def test_what_is_published_may_only_be_held(self) -> None:
        self.allowed("published", "on_hold")
        for status in set(valid_transitions) - {"on_hold"}:
            self.refused("published", status)

    def test_what_failed_may_be_tried_again(self) -> None:
        self.allowed("failed", "pending")

    def test_what_is_held_may_go_on(self) -> None:
        self.allowed("on_hold", "in_progress")

    def test_what_was_rejected_may_be_reworked(self) -> None:
        self.allowed("rejected", "in_progress")

    def test_nothing_follows_cancelled(self) -> None:
        for status in valid_transitions:
            self.refused("cancelled", status)

    def test_no_status_may_follow_itself(self) -> None:
        for status in valid_transitions:
            self.refused(status, status)

    def test_the_whole_table_is_kept(self) -> None:
        for old, targets in valid_transitions.items():
            for new in valid_transitions:
                self.assertEqual(problems(old, new) == [], new in targets, (old, new))

    def test_an_unknown_status_is_refused(self) -> None:
        self.assertEqual(problems("pending", "done"), ["Unknown status 'done'"])

    def test_an_unknown_present_status_allows_nothing(self) -> None:
        self.refused("lost", "pending")

    def test_the_message_names_both_statuses(self) -> None:
        self.assertIn("Invalid transition from 'pending' to 'published'", problems("pending", "published")[0])

    def test_the_message_names_what_is_allowed(self) -> None:
        self.assertIn("allowed: cancelled, pending", problems("failed", "approved")[0])


if __name__ == "__main__":
    unittest.main()
