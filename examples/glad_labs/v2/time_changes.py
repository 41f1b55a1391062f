"""Times validated changes of status on a running version, and fails if their median is above MEDIAN_MS (50).

``python time_changes.py --url http://127.0.0.1:8000``, with GLAD_LABS_TOKEN in the environment. It works on a task of
its own, which is removed at the end.
"""

from __future__ import annotations

import os
import statistics
import time

from smoke import Api, require, run

CHANGES = 30


def timed(api: Api, task_id: str) -> None:
    """Let the status go to and fro."""
    path, took = f"/api/tasks/{task_id}", []
    api.ask("PUT", f"{path}/status", {"status": "on_hold"})
    for number in range(CHANGES):
        began = time.perf_counter()
        api.ask("PUT", f"{path}/status/validated", {"status": ("in_progress", "on_hold")[number % 2]})
        took.append((time.perf_counter() - began) * 1000)
    limit, median = float(os.environ.get("MEDIAN_MS", "50")), statistics.median(took)
    require(median <= limit, f"the median of {CHANGES} changes is {median:.1f} ms ≤ {limit:g} ms")


if __name__ == "__main__":
    run(timed)
