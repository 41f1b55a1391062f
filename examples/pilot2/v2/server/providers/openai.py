"""Asks a language model of openai; the stand-in answers by itself and asks nobody."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def act(action: str, params: Mapping[str, Any], credentials: Mapping[str, str]) -> Any:
    """Return what the model says."""
    if not credentials.get("api_key"):
        raise LookupError("no api_key of openai is stored for this user")
    return f"{action}: {params.get('prompt', '')}"
