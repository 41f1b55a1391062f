"""What Prefect itself took: its tasks counted, and the seconds of a release that passed outside of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import httpx

_PAGE = 200


@dataclass(frozen=True)
class Account:
    """Runs of flows and tasks of some releases; ``wall`` and ``work`` in seconds.

    ``work`` is the time inside of tasks, also where several ran at the same time; the rest of ``wall``
    is orchestration.
    """

    flows: int
    tasks: int
    wall: float
    work: float

    @property
    def overhead(self) -> float:
        """Seconds of orchestration for each task."""
        return max(0.0, self.wall - self.work) / self.tasks if self.tasks else 0.0

    def __str__(self) -> str:
        return (
            f"{self.flows} flow and {self.tasks} task runs took {self.wall:.1f} s, {self.work:.1f} s of them inside "
            f"of tasks: orchestration cost {1000 * self.overhead:.0f} ms a task"
        )


def account(api: str) -> Account:
    """Ask the Prefect server at ``api`` what its release flows took, with all that ran below them."""
    with httpx.Client(base_url=api, timeout=20.0, trust_env=False) as client:
        flows = _all(client, "/flow_runs/filter")
        tasks = _all(client, "/task_runs/filter")
    roots = [one for one in flows if one["name"].endswith("→ live")]
    inside = {one["id"] for one in roots}
    # A subflow hangs below the task run that stands for it in its parent.
    while True:
        bridges = {task["id"] for task in tasks if task["flow_run_id"] in inside}
        below = {one["id"] for one in flows if one["parent_task_run_id"] in bridges}
        if below <= inside:
            break
        inside |= below
    stand_ins = {one["parent_task_run_id"] for one in flows}
    own = [task for task in tasks if task["flow_run_id"] in inside and task["id"] not in stand_ins]
    return Account(
        flows=len(inside),
        tasks=len(own),
        wall=sum(one["total_run_time"] for one in roots),
        work=sum(one["total_run_time"] for one in own),
    )


def _all(client: httpx.Client, path: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    while True:
        answer = client.post(path, json={"limit": _PAGE, "offset": len(found)})
        answer.raise_for_status()
        page = answer.json()
        found += page
        if len(page) < _PAGE:
            return found
