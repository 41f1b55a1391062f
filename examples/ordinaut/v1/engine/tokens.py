"""Tokens of agents: JWT by HMAC-SHA256, of which the subject is the agent's name."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time


def issue(agent: str, key: str, *, lives: float = 3600.0) -> str:
    """Return a token for an agent."""
    claims = {"sub": agent, "exp": int(time.time() + lives)}
    signed = ".".join(_encode(json.dumps(part).encode()) for part in ({"alg": "HS256", "typ": "JWT"}, claims))
    return f"{signed}.{_signature(signed, key)}"


def agent_of(token: str, key: str) -> str | None:
    """Return whose token it is, or None if it is forged, expired or none at all."""
    signed, _, signature = token.rpartition(".")
    if not hmac.compare_digest(signature.encode(), _signature(signed, key).encode()):
        return None
    try:
        claims = json.loads(_decode(signed.partition(".")[2]))
    except ValueError:
        return None
    return str(claims["sub"]) if claims.get("exp", 0) > time.time() else None


def _signature(signed: str, key: str) -> str:
    return _encode(hmac.new(key.encode(), signed.encode(), hashlib.sha256).digest())


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
