"""Tries every change of status on a running version: those of ``valid_transitions`` are made, all others refused.

``python walk_transitions.py --url http://127.0.0.1:8000``, with GLAD_LABS_TOKEN in the environment. It works on a task
of its own, which is removed at the end.
"""

from __future__ import annotations

from smoke import Api, require, run
from task_status import valid_transitions


def walk(api: Api, task_id: str) -> None:
    """Bring the task into each status in turn, and from there try to go to every one."""
    path = f"/api/tasks/{task_id}"
    for old, allowed in valid_transitions.items():
        api.ask("PUT", f"{path}/status", {"status": old})
        for new in sorted(set(valid_transitions) - allowed):
            refused = api.ask("PUT", f"{path}/status/validated", {"status": new}, expect=409)["detail"]
            if f"Invalid transition from '{old}' to '{new}'" not in refused:
                raise AssertionError(f"{old} → {new} was refused without naming both: {refused}")
        require(api.ask("GET", path)["status"] == old, f"{old} is kept by what is refused")
        for new in sorted(allowed):
            api.ask("PUT", f"{path}/status", {"status": old})
            changed = api.ask("PUT", f"{path}/status/validated", {"status": new})
            require((changed["old_status"], changed["new_status"]) == (old, new), f"{old} → {new} is allowed")


if __name__ == "__main__":
    run(walk)
