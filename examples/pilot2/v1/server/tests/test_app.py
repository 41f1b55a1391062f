"""The application answers without any network or database: ``python tests/test_app.py``."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from app import app


def main() -> None:
    """Ask what needs no database."""
    client = app.test_client()
    assert client.get("/api/providers").get_json()["providers"]
    assert client.get("/api/scheduler/jobs").status_code == 200
    sys.stdout.write("✓ Application answers\n")


if __name__ == "__main__":
    main()
