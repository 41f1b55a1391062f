"""Version 1: tasks and their status."""

from __future__ import annotations

from service import create_app
from task_routes import router

app = create_app("v1", router)
