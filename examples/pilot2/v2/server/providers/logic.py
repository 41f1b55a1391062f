"""Transforms texts; it needs no credentials."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def act(action: str, params: Mapping[str, Any], _credentials: Mapping[str, str]) -> Any:
    """Return the template as it is."""
    if action != "transform":
        raise ValueError(f"logic cannot {action}")
    return str(params.get("template", ""))
