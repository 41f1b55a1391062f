"""Since when what a look has found is so."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

from tasks.alerting import _since

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


def look(hours_ago: int, checks: dict[str, str], *findings: tuple[str, str]) -> Any:
    named = [{"kind": kind, "state": state} for kind, state in findings]
    return SimpleNamespace(at=NOW - timedelta(hours=hours_ago), findings={"findings": named, "checks": checks})


def test_what_is_wrong_is_so_since_the_first_of_the_looks_in_a_row_that_found_any_of_it() -> None:
    looks = [
        look(5, {"API": "failed"}),
        look(4, {"API": "passed"}),
        look(3, {"API": "failed", "search": "passed"}),
        look(2, {"API": "passed"}, ("slower", "unknown")),
        look(1, {"API": "failed"}, ("slower", "unknown")),
    ]
    assert _since({"API failed": "503"}, looks, NOW) == NOW - timedelta(hours=1)
    assert _since({"API failed": "503", "slower unknown": "no answer"}, looks, NOW) == NOW - timedelta(hours=3)
    assert _since({"search failed": "404"}, looks, NOW) == NOW
    assert _since({}, looks, NOW) == NOW, "that all is well again is so since now"
