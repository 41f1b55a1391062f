"""Version 2: a registry of providers, and credentials, plans and logs of each user in the database."""

from __future__ import annotations

import json
import os
from typing import Any

import credentials
import execution_engine
import psycopg2
from database import db_manager
from flask import jsonify, request
from providers import registry
from service import create_app, log, serve

app = create_app()


@app.errorhandler(psycopg2.Error)
def database_failed(error: psycopg2.Error) -> Any:
    """Tell of an error of the database without its text, which may hold what users have sent."""
    log.error("the database refused a request (%s, %s)", type(error).__name__, error.pgcode)
    return jsonify(status="error", error="the database refused it"), 500


@app.get("/api/providers")
def providers() -> Any:
    """List the providers."""
    return jsonify(providers=sorted(registry.providers))


@app.route("/api/provider-credentials/<provider>", methods=["POST", "PUT"])
def store_credentials(provider: str) -> Any:
    """Store a user's credentials."""
    body = request.get_json()
    credentials.store(body["user_id"], provider, body["credentials"])
    return jsonify(provider=provider, types=sorted(body["credentials"]))


@app.get("/api/provider-credentials/<provider>")
def read_credentials(provider: str) -> Any:
    """Tell which credentials a user has, and how each ends."""
    found = credentials.read(request.args["user_id"], provider)
    return jsonify(provider=provider, credentials={name: f"…{value[-2:]}" for name, value in found.items()})


@app.delete("/api/provider-credentials/<provider>")
def remove_credentials(provider: str) -> Any:
    """Remove a user's credentials."""
    return jsonify(removed=credentials.remove(request.args["user_id"], provider))


@app.post("/api/plans")
def create_plan() -> Any:
    """Store a plan."""
    body = request.get_json()
    with db_manager.session(body["user_id"]) as cursor:
        cursor.execute(
            "INSERT INTO execution_plans (user_id, name, original_prompt, steps) VALUES (%s, %s, %s, %s) RETURNING id",
            (body["user_id"], body["name"], body["original_prompt"], json.dumps(body["steps"])),
        )
        return jsonify(id=cursor.fetchone()["id"]), 201


@app.get("/api/plans")
def list_plans() -> Any:
    """List a user's plans; row-level security leaves out all others."""
    with db_manager.session(request.args["user_id"]) as cursor:
        cursor.execute("SELECT id, user_id, name, steps FROM execution_plans ORDER BY id DESC LIMIT 100")
        return jsonify(plans=[dict(row) for row in cursor.fetchall()])


@app.delete("/api/plans/<int:plan>")
def remove_plan(plan: int) -> Any:
    """Remove a user's plan."""
    with db_manager.session(request.args["user_id"]) as cursor:
        # Not by the policies alone: a role that bypasses them must not remove what others have.
        cursor.execute("DELETE FROM execution_plans WHERE id = %s AND user_id = %s", (plan, request.args["user_id"]))
        return jsonify(removed=cursor.rowcount)


@app.post("/api/execute-step")
def execute_step() -> Any:
    """Execute one step for a user."""
    body = request.get_json()
    result = execution_engine.execute(body["user_id"], body["step"])
    return jsonify(result.to_dict()), 200 if result.status == "success" else 500


@app.route("/api/execution-logs", methods=["GET", "DELETE"])
def logs() -> Any:
    """List a user's latest log entries, or remove all of them."""
    with db_manager.session(request.args["user_id"]) as cursor:
        if request.method == "DELETE":
            cursor.execute("DELETE FROM execution_logs WHERE user_id = %s", (request.args["user_id"],))
            return jsonify(removed=cursor.rowcount)
        cursor.execute("SELECT user_id, provider, status FROM execution_logs ORDER BY timestamp DESC LIMIT 100")
        return jsonify(logs=[dict(row) for row in cursor.fetchall()])


if __name__ == "__main__":
    if not os.environ.get("FERNET_KEY"):
        raise SystemExit("FERNET_KEY must be set in the environment")
    credentials.fernet()
    credentials.take_over()
    # Requests get connections on which nobody has been yet.
    db_manager.close()
    serve(app)
