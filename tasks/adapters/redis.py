"""Redis, through redis-py."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from redis import Redis, exceptions
from redis.backoff import NoBackoff
from redis.retry import Retry

from tasks.domain.errors import (
    AccessDenied,
    ConnectionLost,
    GoliveError,
    OutsideError,
    TimedOut,
    Unreachable,
    UserError,
)


class RedisConnections:
    """Opens connections to Redis, each used once."""

    @contextmanager
    def session(self, url: str, *, timeout: float) -> Iterator[RedisConnection]:
        """Open a connection, closed at the end of the block."""
        where = _place(url)
        try:
            client = Redis.from_url(
                url,
                socket_timeout=timeout,
                socket_connect_timeout=timeout,
                retry=Retry(NoBackoff(), 0),
                decode_responses=True,
                single_connection_client=True,
                client_name="golive",
            )
        except (ValueError, TypeError) as error:
            raise UserError("this is no address of Redis", where=where, do="write redis://host:port/0") from error
        except exceptions.RedisError as error:
            raise _named(error, where) from error
        try:
            yield RedisConnection(client)
        except exceptions.RedisError as error:
            raise _named(error, where) from error
        finally:
            client.close()


class RedisConnection:
    """One connection."""

    def __init__(self, client: Redis) -> None:
        self._client: Any = client

    def ping(self) -> None:
        """Ask whether it answers."""
        self._client.ping()

    def info(self) -> Mapping[str, Any]:
        """Return what INFO tells, numbers as numbers."""
        told: Mapping[str, Any] = self._client.info()
        return told

    def put(self, key: str, value: str, *, expires: int) -> None:
        """Set a key, which is gone after so many seconds."""
        self._client.set(key, value, ex=expires)

    def get(self, key: str) -> str | None:
        """Return the value of a key, or None if there is none."""
        value: str | None = self._client.get(key)
        return value

    def delete(self, key: str) -> int:
        """Remove a key and return how many were there."""
        return int(self._client.delete(key))


def _place(url: str) -> str:
    try:
        parts = urlsplit(url)
    except ValueError:
        return "a URL that cannot be read"
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def _named(error: exceptions.RedisError, where: str) -> GoliveError:
    words = str(error) or type(error).__name__
    match error:
        case exceptions.AuthenticationError() | exceptions.AuthorizationError() | exceptions.NoPermissionError():
            return AccessDenied(words, where=where)
        case exceptions.TimeoutError():
            return TimedOut(words, where=where)
        case exceptions.ConnectionError() if error.__cause__ is None and "closed by server" in words:
            return ConnectionLost(words, where=where)
        case exceptions.ConnectionError():
            return Unreachable(words, where=where)
        case _:
            return OutsideError(words, where=where)
