"""Version 1: the providers are part of the application, and their keys of its environment."""

from __future__ import annotations

import os
from typing import Any

from flask import jsonify, request
from service import create_app, serve

app = create_app()
PROVIDERS = ("openai", "groq", "webhook", "logic")


@app.get("/api/providers")
def providers() -> Any:
    """List the providers."""
    return jsonify(providers=PROVIDERS)


@app.post("/api/execute-step")
def execute_step() -> Any:
    """Execute one step; nothing is kept of it."""
    step = request.get_json()["step"]
    name = step["provider"]
    if name == "logic":
        return jsonify(status="success", output=str(step["params"].get("template", "")))
    if name not in PROVIDERS or not os.environ.get(f"{name.upper()}_API_KEY"):
        return jsonify(status="error", error=f"no api_key of {name}"), 500
    return jsonify(status="success", output=f"{name} would have answered")


if __name__ == "__main__":
    serve(app)
