"""Faults strike when they should, and only then."""

# ruff: noqa: PT009 - unittest, because a version's tests must run where nothing but the service is installed
from __future__ import annotations

import unittest

from faults import Faults


class FaultsTest(unittest.TestCase):
    """What the switch does."""

    def test_without_a_share_nothing_fails(self) -> None:
        faults = Faults()
        self.assertEqual({faults.next() for _ in range(1000)}, {(0.0, False)})

    def test_nothing_fails_before_its_time(self) -> None:
        time = iter([100.0, 109.9, 110.0])
        faults = Faults(share=1.0, after=10, now=lambda: next(time))
        self.assertEqual([faults.next()[1] for _ in range(3)], [False, False, True])

    def test_the_share_is_kept(self) -> None:
        faults = Faults(share=0.3)
        self.assertAlmostEqual(sum(faults.next()[1] for _ in range(10_000)) / 10_000, 0.3, delta=0.02)


if __name__ == "__main__":
    unittest.main()
