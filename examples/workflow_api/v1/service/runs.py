"""How a run is put on record."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

from pydantic import BaseModel

from service.pool import Connection


class Execution(BaseModel):
    """How a run is to be made."""

    input: dict[str, Any] = {}


def insert_run(conn: Connection, workflow_id: UUID, execution: Execution) -> dict[str, Any] | None:
    """Put a run on record; None if there is no such workflow."""
    query = "INSERT INTO workflow_runs (workflow_id, input) SELECT id, %s FROM workflows WHERE id = %s RETURNING id"
    return conn.execute(query, (json.dumps(execution.input), workflow_id)).fetchone()
