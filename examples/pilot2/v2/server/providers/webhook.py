"""Sends a request to an address of the user's; the stand-in sends none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def act(action: str, params: Mapping[str, Any], _credentials: Mapping[str, str]) -> Any:
    """Return what would be sent."""
    if not str(params.get("url", "")).startswith("https://"):
        raise ValueError("a webhook needs an https address")
    return {"action": action, "url": params["url"]}
