"""Smoke test against a running version with the audit trail: what worked before still does, and what is new works.

``python smoke_audit.py --url http://127.0.0.1:8000``, with GLAD_LABS_TOKEN in the environment.
"""

from __future__ import annotations

from smoke import Api, existing, require, run


def audited(api: Api, task_id: str) -> None:
    """Use what the audit trail brought."""
    path = f"/api/tasks/{task_id}"
    api.ask("PUT", f"{path}/status/validated", {"status": "awaiting_approval", "metadata": {"by": ["smoke"]}})
    refused = api.ask("PUT", f"{path}/status/validated", {"status": "published"}, expect=409)
    require("Invalid transition" in refused["detail"], "an invalid transition is refused")
    trail = api.ask("GET", f"{path}/status-history")["entries"]
    seen = [entry["new_status"] for entry in trail]
    require(seen == ["validation_failed", "awaiting_approval", "in_progress"], "the trail holds each change")
    require(trail[1]["metadata"] == {"by": ["smoke"]}, "the trail preserves metadata")
    require(all(entry["changed_by"] for entry in trail), "the trail names the user")
    require(api.ask("GET", f"{path}/status-history/failures")["count"] == 1, "the failures are listed")


if __name__ == "__main__":
    run(existing, audited)
