"""JSON Web Tokens, signed with HS256: ``python -m service.tokens NAME`` prints one."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import os
import sys
import time


def issue(secret: str, subject: str, *, lasts: float = 3600.0, now: float | None = None) -> str:
    """Return a token for somebody, good for so many seconds."""
    claims = {"sub": subject, "exp": int((time.time() if now is None else now) + lasts)}
    text = ".".join(_encoded(json.dumps(part).encode()) for part in ({"alg": "HS256", "typ": "JWT"}, claims))
    return f"{text}.{_signature(secret, text)}"


def subject_of(secret: str, token: str, *, now: float | None = None) -> str | None:
    """Return whose token it is, or None if it was not signed with the secret or has expired."""
    text, _, signature = token.rpartition(".")
    if not hmac.compare_digest(signature.encode(), _signature(secret, text).encode()):
        return None
    try:
        claims = json.loads(_decoded(text.partition(".")[2]))
    except (ValueError, binascii.Error):
        return None
    return str(claims["sub"]) if claims["exp"] > (time.time() if now is None else now) else None


def _signature(secret: str, text: str) -> str:
    return _encoded(hmac.digest(secret.encode(), text.encode(), hashlib.sha256))


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


if __name__ == "__main__":
    sys.stdout.write(issue(os.environ["JWT_SECRET"], sys.argv[1], lasts=30 * 24 * 3600) + "\n")
