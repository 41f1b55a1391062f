"""How a name and a password are handed over in an HTTP request."""

from __future__ import annotations

from base64 import b64encode


def basic(login: str) -> str:
    """Return the value of the header Authorization for ``name:password`` (RFC 7617)."""
    return f"Basic {b64encode(login.encode()).decode()}"
