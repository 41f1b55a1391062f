"""Has fifty tasks run, and tells how fast: each must be accepted, and all be finished within a minute.

They are removed at the end. The rate is reckoned from the first start to the last finish, since waiting for the time
for which they are scheduled is no work.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import urllib.request
from datetime import UTC, datetime, timedelta
from typing import Any


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--url", required=True)
    parser.add_argument("--tasks", type=int, default=50)
    parser.add_argument("--ahead", type=float, default=2.0, help="seconds from now for which they are scheduled")
    parser.add_argument("--at-least", type=float, default=100.0, help="tasks a minute")
    asked = parser.parse_args()
    begun, made = time.monotonic(), []
    try:
        for number in range(asked.tasks):
            made.append(_ask("POST", f"{asked.url}/tasks", _task(number + 1, asked.ahead))["id"])  # noqa: PERF401 - what was made is removed, whatever comes
        print(f"accepted {len(made)} of {asked.tasks}")
        runs = _finished(asked.url, made, begun + 60)
        print(f"completed {len(runs)} of {asked.tasks} in {time.monotonic() - begun:.1f} s")
        if len(runs) < asked.tasks or any(run["failed"] for run in runs):
            return 1
        span = max(_at(run["finished_at"]) for run in runs) - min(_at(run["started_at"]) for run in runs)
        rate = 60 * len(runs) / max(span.total_seconds(), 0.001)
        print(f"rate {rate:.0f} tasks/minute, expected more than {asked.at_least:g}")
        return 0 if rate > asked.at_least else 1
    finally:
        for task_id in made:
            _ask("DELETE", f"{asked.url}/tasks/{task_id}")


def _task(number: int, ahead: float) -> dict[str, Any]:
    return {
        "title": f"Load Test Task {number}",
        "description": "Performance validation task",
        "schedule_kind": "once",
        "schedule_expr": (datetime.now(UTC) + timedelta(seconds=ahead)).isoformat(),
        "payload": {"pipeline": [{"id": "test", "uses": "noop"}]},
    }


def _finished(url: str, ids: list[str], end: float) -> list[dict[str, Any]]:
    """Return the runs of those that are finished, all or what there is at the end."""
    found: dict[str, dict[str, Any]] = {}
    while len(found) < len(ids) and time.monotonic() < end:
        time.sleep(0.5)
        for task_id in ids:
            if task_id not in found and (told := _ask("GET", f"{url}/tasks/{task_id}"))["finished"]:
                found[task_id] = told
    return list(found.values())


def _at(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _ask(method: str, url: str, body: Any = None) -> Any:
    headers = {"Authorization": f"Bearer {os.environ['ORDINAUT_TOKEN']}"}
    data = json.dumps(body).encode() if body else None
    request = urllib.request.Request(url, data, headers, method=method)  # noqa: S310 - the release file's own address
    with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
        return json.load(answer)


if __name__ == "__main__":
    sys.exit(main())
