"""The table of statuses is sound."""

# ruff: noqa: PT009 - unittest, because a version's tests must run where nothing but the service is installed
from __future__ import annotations

import unittest

from task_status import TaskStatus, valid_transitions


class TaskStatusTest(unittest.TestCase):
    """What holds of the statuses."""

    def test_every_status_has_its_transitions(self) -> None:
        self.assertEqual(set(valid_transitions), {status.value for status in TaskStatus})

    def test_transitions_lead_to_known_statuses(self) -> None:
        self.assertLessEqual(set().union(*valid_transitions.values()), set(valid_transitions))

    def test_no_status_follows_itself(self) -> None:
        self.assertEqual([s for s, targets in valid_transitions.items() if s in targets], [])

    def test_every_status_is_reached_from_pending(self) -> None:
        reached, edge = {"pending"}, {"pending"}
        while edge:
            edge = set().union(*(valid_transitions[status] for status in edge)) - reached
            reached |= edge
        self.assertEqual(reached, set(valid_transitions))


if __name__ == "__main__":
    unittest.main()
