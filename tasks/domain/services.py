"""Redis and Kafka as golive's code sees them; adapters implement these protocols."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol


class RedisSession(Protocol):
    """One connection to one Redis."""

    def ping(self) -> None:
        """Ask whether it answers."""
        ...

    def info(self) -> Mapping[str, Any]:
        """Return what INFO tells, numbers as numbers."""
        ...

    def put(self, key: str, value: str, *, expires: int) -> None:
        """Set a key, which is gone after so many seconds."""
        ...

    def get(self, key: str) -> str | None:
        """Return the value of a key, or None if there is none."""
        ...

    def delete(self, key: str) -> int:
        """Remove a key and return how many were there."""
        ...


class Redis(Protocol):
    """Opens connections to Redis.

    Errors come as `Unreachable`, `ConnectionLost`, `TimedOut`, `AccessDenied`, or `OutsideError` for any other refusal.
    """

    def session(self, url: str, *, timeout: float) -> AbstractContextManager[RedisSession]:
        """Open a connection, closed at the end of the block; ``timeout`` in seconds holds for each answer."""
        ...


@dataclass(frozen=True)
class Topic:
    """A topic of Kafka; ``replicas`` and ``in_sync`` are the least of any partition."""

    partitions: int
    replicas: int
    in_sync: int
    leaderless: int


class KafkaSession(Protocol):
    """One client of one Kafka cluster."""

    def brokers(self) -> Sequence[str]:
        """Return the addresses under which the brokers are to be reached, as they advertise them."""
        ...

    def topics(self) -> Mapping[str, Topic]:
        """Return the topics that there are; none is made by asking."""
        ...

    def round_trip(self, topic: str, key: str, value: str) -> float:
        """Send a message, read it back from where it was stored, and return the seconds that it took."""
        ...

    def lag(self, group: str, topics: Sequence[str]) -> Mapping[str, int | None]:
        """Return for each partition, as ``topic/0``, how many messages a group has not committed yet.

        It is None where the group has committed nothing.
        """
        ...


class Kafka(Protocol):
    """Opens clients of Kafka clusters.

    Errors come as `Unreachable`, `TimedOut`, `AccessDenied`, `OutsideError`, and `ToolMissing` without the package.
    """

    def session(
        self, brokers: str, options: Mapping[str, str], *, timeout: float
    ) -> AbstractContextManager[KafkaSession]:
        """Open a client of the brokers ``host:port,…``; ``timeout`` in seconds holds for each question.

        ``options`` are librdkafka's, as for TLS and SASL.
        """
        ...
