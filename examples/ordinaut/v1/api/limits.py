"""How many requests an agent may send in a minute, counted in Redis so that all instances count together."""

from __future__ import annotations

import logging
import time

import redis

log = logging.getLogger("api")


class RedisLimiter:
    """Lets everybody in while Redis is away: it protects the service and must not be what takes it down."""

    def __init__(self, url: str, per_minute: int) -> None:
        self._redis = redis.Redis.from_url(url, socket_timeout=1.0, socket_connect_timeout=1.0)
        self._most = per_minute

    def allows(self, agent: str) -> bool:
        """Count a request, and tell whether it is not one too many."""
        key = f"requests:{agent}:{int(time.time() // 60)}"
        try:
            with self._redis.pipeline() as pipe:
                count, _ = pipe.incr(key).expire(key, 120).execute()
        except redis.RedisError as error:
            log.warning("requests are not counted: Redis does not answer (%s)", type(error).__name__)
            return True
        return int(count) <= self._most

    def ping(self) -> None:
        """Raise `OSError` if Redis does not answer."""
        try:
            self._redis.ping()
        except redis.RedisError as error:
            raise OSError(str(error)) from error
