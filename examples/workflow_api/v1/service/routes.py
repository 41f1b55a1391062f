"""The API: agents, workflows of agents, and runs of workflows."""

from __future__ import annotations

import os
from typing import Any
from uuid import UUID

from fastapi import APIRouter, HTTPException, Request
from prometheus_client import Counter
from pydantic import BaseModel

from service import OUTPUT, TOPIC
from service.audit import audit
from service.runs import Execution, insert_run

router = APIRouter()
STARTED = Counter("workflow_runs_started_total", "Runs that were handed to the executor")


class Agent(BaseModel):
    name: str
    model: str = "small"


class Workflow(BaseModel):
    name: str
    agent_id: UUID


def found(row: dict[str, Any] | None) -> dict[str, Any]:
    if row is None:
        raise HTTPException(404, "There is no such thing")
    return row


@router.get("/agents")
def list_agents(request: Request, limit: int = 50) -> list[dict[str, Any]]:
    with request.app.state.pool.connection() as conn:
        rows: list[dict[str, Any]] = conn.execute(
            "SELECT id, name, model FROM agents ORDER BY created_at DESC LIMIT %s", (min(limit, 200),)
        ).fetchall()
        return rows


@router.post("/agents", status_code=201)
def create_agent(request: Request, agent: Agent) -> dict[str, Any]:
    with request.app.state.pool.connection() as conn:
        row = conn.execute(
            "INSERT INTO agents (name, model) VALUES (%s, %s) RETURNING id, name, model", (agent.name, agent.model)
        ).fetchone()
        audit(conn, request.state.caller, "agent.created", row["id"])
        return found(row)


@router.get("/agents/{agent_id}")
def read_agent(request: Request, agent_id: UUID) -> dict[str, Any]:
    with request.app.state.pool.connection() as conn:
        return found(conn.execute("SELECT id, name, model FROM agents WHERE id = %s", (agent_id,)).fetchone())


@router.delete("/agents/{agent_id}", status_code=204)
def remove_agent(request: Request, agent_id: UUID) -> None:
    """Remove an agent with its workflows and their runs; what is in the audit log stays."""
    with request.app.state.pool.connection() as conn:
        found(conn.execute("DELETE FROM agents WHERE id = %s RETURNING id", (agent_id,)).fetchone())
        audit(conn, request.state.caller, "agent.removed", agent_id)


@router.post("/workflows", status_code=201)
def create_workflow(request: Request, workflow: Workflow) -> dict[str, Any]:
    with request.app.state.pool.connection() as conn:
        row = conn.execute(
            "INSERT INTO workflows (name, agent_id) SELECT %s, id FROM agents WHERE id = %s "
            "RETURNING id, name, agent_id",
            (workflow.name, workflow.agent_id),
        ).fetchone()
        row = found(row)
        audit(conn, request.state.caller, "workflow.created", row["id"])
        return row


@router.get("/workflows/{workflow_id}")
def read_workflow(request: Request, workflow_id: UUID) -> dict[str, Any]:
    with request.app.state.pool.connection() as conn:
        query = "SELECT id, name, agent_id FROM workflows WHERE id = %s"
        return found(conn.execute(query, (workflow_id,)).fetchone())


@router.post("/workflows/{workflow_id}/execute", status_code=202)
def execute(request: Request, workflow_id: UUID, execution: Execution) -> dict[str, Any]:
    """Put a run on record, hand it to the executor, and tell where the broker has put it."""
    with request.app.state.pool.connection() as conn:
        run = found(insert_run(conn, workflow_id, execution))
        audit(conn, request.state.caller, "workflow.executed", run["id"])
    if os.environ.get("FAULT") == "unpublished":
        return {"run_id": run["id"], "published": None}
    where = request.app.state.publisher.publish(TOPIC, {"run_id": str(run["id"])})
    STARTED.inc()
    return {"run_id": run["id"], "published": where}


@router.get("/runs")
def list_runs(request: Request, limit: int = 50) -> list[dict[str, Any]]:
    with request.app.state.pool.connection() as conn:
        query = f"SELECT id, status, {OUTPUT} AS output FROM workflow_runs ORDER BY created_at DESC LIMIT %s"  # noqa: S608 - a constant
        rows: list[dict[str, Any]] = conn.execute(query.encode(), (min(limit, 200),)).fetchall()
        return rows


@router.get("/runs/{run_id}")
def read_run(request: Request, run_id: UUID) -> dict[str, Any]:
    with request.app.state.pool.connection() as conn:
        query = f"SELECT id, status, {OUTPUT} AS output, updated_at FROM workflow_runs WHERE id = %s"  # noqa: S608 - a constant
        return found(conn.execute(query.encode(), (run_id,)).fetchone())
