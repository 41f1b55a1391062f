from __future__ import annotations

from engine import statements


def test_the_urgent_comes_first():
    assert "ORDER BY priority DESC, run_at" in statements.CLAIM
    assert "priority" in statements.ENQUEUE
    assert "%(priority)s" in statements.ADD
