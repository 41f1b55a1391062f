"""Looks whether what one process stores is there for the next: credentials, plans, logs, and the scheduler's jobs.

``python check_restart.py`` runs the application in two processes one after the other, against DATABASE_URL, with a
user of its own whose rows it removes; the service that runs is left alone.
"""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
from typing import Any

PATHS = ("/api/provider-credentials/openai", "/api/plans", "/api/execution-logs")


def act(deed: str, user: str) -> Any:
    """Store, show or remove what the user has, in this process."""
    import scheduler
    from app import app

    client = app.test_client()
    asked = {"user_id": user}
    if deed == "store":
        step = {"provider": "logic", "action": "transform", "params": {"template": "kept"}}
        assert client.post(PATHS[0], json=asked | {"credentials": {"api_key": "kept"}}).status_code == 200
        plan = {"name": "kept", "original_prompt": "kept", "steps": [step]}
        assert client.post(PATHS[1], json=asked | plan).status_code == 201
        assert client.post("/api/execute-step", json=asked | {"step": step}).status_code == 200
    if deed == "remove":
        for plan in client.get(PATHS[1], query_string=asked).get_json()["plans"]:
            client.delete(f"{PATHS[1]}/{plan['id']}", query_string=asked)
        for path in (PATHS[0], PATHS[2]):
            client.delete(path, query_string=asked)
    return [sorted(scheduler.JOBS), *(client.get(path, query_string=asked).get_json() for path in PATHS)]


def elsewhere(deed: str, user: str) -> Any:
    """Do it in a process of its own and return what the user has then."""
    argv = [sys.executable, __file__, deed, user]
    return json.loads(subprocess.run(argv, check=True, capture_output=True, text=True, timeout=60).stdout)


def main() -> None:
    """Compare what two processes show; a difference ends it with an error."""
    user = f"golive-{secrets.token_hex(6)}"
    try:
        before = elsewhere("store", user)
        after = elsewhere("show", user)
    finally:
        elsewhere("remove", user)
    if before != after or not after[2]["plans"] or not after[3]["logs"]:
        raise SystemExit(f"before the restart {before}, after it {after}")
    sys.stdout.write("✓ nothing is lost on restart\n")


if __name__ == "__main__":
    if len(sys.argv) == 3:
        sys.stdout.write(json.dumps(act(*sys.argv[1:])))
    else:
        main()
