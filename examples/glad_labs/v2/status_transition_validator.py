"""Whether a change of status is allowed: pure."""

from __future__ import annotations

from task_status import valid_transitions


def problems(old: str, new: str) -> list[str]:
    """Return what speaks against going from one status to another; nothing if it is allowed."""
    if new not in valid_transitions:
        return [f"Unknown status '{new}'"]
    allowed = valid_transitions.get(old, frozenset())
    if new in allowed:
        return []
    return [f"Invalid transition from '{old}' to '{new}'; allowed: {', '.join(sorted(allowed)) or 'none'}"]
