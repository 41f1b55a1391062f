"""How many requests an agent may send in a minute, counted in Redis so that all instances count together."""

from __future__ import annotations

import logging
import socket
import time
from urllib.parse import urlsplit

log = logging.getLogger("api")
_WAIT = 1.0


class RedisLimiter:
    """Lets everybody in while Redis is away: it protects the service and must not be what takes it down."""

    def __init__(self, url: str, per_minute: int) -> None:
        parts = urlsplit(url)
        self._address = (parts.hostname or "127.0.0.1", parts.port or 6379)
        self._most = per_minute

    def allows(self, agent: str) -> bool:
        """Count a request, and tell whether it is not one too many."""
        key = f"requests:{agent}:{int(time.time() // 60)}"
        try:
            count, _ = self._ask(("INCR", key), ("EXPIRE", key, "120"))
        except OSError as error:
            log.warning("requests are not counted: Redis does not answer (%s)", type(error).__name__)
            return True
        return int(count) <= self._most

    def ping(self) -> None:
        """Raise `OSError` if Redis does not answer."""
        self._ask(("PING",))

    def _ask(self, *commands: tuple[str, ...]) -> list[str]:
        """Send commands at once and return what each came to; raises `OSError` for an error of Redis's too."""
        words = [[f"*{len(command)}", *(part for word in command for part in (f"${len(word.encode())}", word))]
                 for command in commands]  # fmt: skip
        with socket.create_connection(self._address, _WAIT) as sock, sock.makefile("rb") as answers:
            sock.sendall("".join(f"{word}\r\n" for command in words for word in command).encode())
            said = [answers.readline().decode().strip() for _ in commands]
        if wrong := [one for one in said if not one.startswith(("+", ":"))]:
            raise OSError(f"Redis says {wrong[0] or 'nothing'}")
        return [one[1:] for one in said]
