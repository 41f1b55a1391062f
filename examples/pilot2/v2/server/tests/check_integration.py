"""The integration tests of the checklist in Flask's test mode: against DATABASE_URL, with a user of its own.

``python tests/check_integration.py`` names each that passes, and removes what it has stored.
"""

from __future__ import annotations

import secrets
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from app import app
from database import db_manager
from providers import registry


def main() -> None:
    """Run them in order; the first that fails ends it."""
    user = f"golive-{secrets.token_hex(6)}"
    connection = db_manager.get_connection()
    with connection, connection.cursor() as cursor:
        said("Database connection OK")
        cursor.execute("SELECT count(*) FROM provider_credentials")
        said(f"Credential table accessible: {cursor.fetchone()[0]} records")
    connection.close()
    with app.app_context():
        said("Flask app context OK")
    client, key, asked = app.test_client(), "/api/provider-credentials/openai", {"user_id": user}
    step = {"provider": "openai", "action": "chat_completion", "params": {"prompt": "Hello"}}
    plan = {"name": "Test Plan", "original_prompt": "Test", "steps": []}
    try:
        assert client.post(key, json=asked | {"credentials": {"api_key": "test_key_abc"}}).status_code == 200
        said("Credential storage works")
        assert client.get(key, query_string=asked).status_code == 200
        said("Credential retrieval works")
        assert client.post("/api/plans", json=asked | plan).status_code == 201
        said("Plan creation works")
        assert client.post("/api/execute-step", json=asked | {"step": step}).status_code == 200
        said("Step execution works")
        said(f"{len(registry.providers)} providers loaded")
    finally:
        for row in client.get("/api/plans", query_string=asked).get_json()["plans"]:
            client.delete(f"/api/plans/{row['id']}", query_string=asked)
        client.delete(key, query_string=asked)
        client.delete("/api/execution-logs", query_string=asked)


def said(what: str) -> None:
    """Tell of a test that has passed."""
    sys.stdout.write(f"✓ {what}\n")


if __name__ == "__main__":
    main()
