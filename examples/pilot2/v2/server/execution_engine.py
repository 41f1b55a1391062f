"""Executes steps for users, and keeps a log of it."""

from __future__ import annotations

import os
import random
from collections.abc import Mapping
from typing import Any

import credentials
from database import db_manager
from provider_registry import ProviderResult
from providers import registry


def execute(user_id: str, step: Mapping[str, Any]) -> ProviderResult:
    """Execute a step with the user's credentials, and log how it ended."""
    name, action = str(step["provider"]), str(step["action"])
    if name == os.environ.get("FAIL_PROVIDER") and random.random() < float(os.environ.get("FAIL_SHARE", "1")):
        result = ProviderResult("error", None, f"{name} fails, as FAIL_PROVIDER says")
    else:
        keys = {} if name == "logic" else credentials.read(user_id, name)
        result = registry.execute(name, action, step.get("params", {}), keys)
    with db_manager.session(user_id) as cursor:
        cursor.execute(
            "INSERT INTO execution_logs (user_id, provider, action, status, latency_ms, error) "
            "VALUES (%s, %s, %s, %s, %s, %s)",
            (user_id, name, action, result.status, result.latency_ms, result.error),
        )
    return result
