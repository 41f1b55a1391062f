"""Kafka, through confluent-kafka, which is installed only where it is wanted."""

from __future__ import annotations

import importlib
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from tasks.domain.errors import AccessDenied, GoliveError, OutsideError, TimedOut, ToolMissing, Unreachable, UserError
from tasks.domain.services import Topic

_POLL = 0.2


class KafkaClients:
    """Opens clients of Kafka clusters, each used once."""

    @contextmanager
    def session(self, brokers: str, options: Mapping[str, str], *, timeout: float) -> Iterator[KafkaClient]:
        """Open a client, closed at the end of the block."""
        try:
            library = importlib.import_module("confluent_kafka")
        except ImportError as error:
            raise ToolMissing(
                "the Python package confluent-kafka is not installed", do="pip install 'golive[kafka]'"
            ) from error
        client = KafkaClient(library, brokers, options, timeout)
        try:
            yield client
        except library.KafkaException as error:
            raise client.named(error) from error
        finally:
            client.close()


class KafkaClient:
    """A client that reads as no member of any group, so that it takes nothing from anybody."""

    def __init__(self, library: Any, brokers: str, options: Mapping[str, str], timeout: float) -> None:
        self._library, self._brokers, self._timeout = library, brokers, timeout
        self._refusals: list[str] = []
        self._options = {
            **options,
            "bootstrap.servers": brokers,
            "client.id": "golive",
            "socket.timeout.ms": max(10, round(timeout * 1000)),
            "error_cb": self._complained,
            "logger": _silent(),
        }
        self._open: list[Any] = []
        self._reader = self._consumer("golive")

    def close(self) -> None:
        """Close all connections."""
        for consumer in self._open:
            consumer.close()

    def brokers(self) -> Sequence[str]:
        """Return the addresses under which the brokers are to be reached, as they advertise them."""
        known = self._reader.list_topics(timeout=self._timeout).brokers.values()
        return sorted(f"{broker.host}:{broker.port}" for broker in known)

    def topics(self) -> Mapping[str, Topic]:
        """Return the topics that there are; none is made by asking."""
        # Asking for one topic by its name could make it.
        told = self._reader.list_topics(timeout=self._timeout).topics
        return {name: _topic(list(one.partitions.values())) for name, one in told.items() if one.error is None}

    def round_trip(self, topic: str, key: str, value: str) -> float:
        """Send a message, read it back from where it was stored, and return the seconds that it took."""
        start = time.perf_counter()
        stored: list[Any] = []
        limits = {"message.timeout.ms": max(10, round(self._timeout * 1000)), "acks": "all"}
        producer = self._library.Producer({**self._options, **limits})
        producer.produce(
            topic, value.encode(), key.encode(), on_delivery=lambda error, sent: stored.append(error or sent)
        )
        producer.flush(self._timeout)
        if not stored:
            raise TimedOut("no broker has taken the message", where=self._brokers)
        if isinstance(stored[0], self._library.KafkaError):
            raise self._library.KafkaException(stored[0])
        sent = stored[0]
        self._reader.assign([self._library.TopicPartition(topic, sent.partition(), sent.offset())])
        while time.perf_counter() - start < 2 * self._timeout:
            message = self._reader.poll(_POLL)
            if message is None:
                continue
            if message.error():
                raise self._library.KafkaException(message.error())
            if message.offset() == sent.offset():
                if message.key() != key.encode() or message.value() != value.encode():
                    raise OutsideError("another message came back than was sent", where=topic)
                return time.perf_counter() - start
        raise TimedOut("the message was taken and cannot be read back", where=topic)

    def lag(self, group: str, topics: Sequence[str]) -> Mapping[str, int | None]:
        """Return for each partition, as ``topic/0``, how many messages a group has not committed yet."""
        member = self._consumer(group)
        told = self._reader.list_topics(timeout=self._timeout).topics
        asked = [
            self._library.TopicPartition(topic, number)
            for topic in topics
            if topic in told
            for number in told[topic].partitions
        ]
        found: dict[str, int | None] = {}
        for one in member.committed(asked, timeout=self._timeout) if asked else []:
            if one.error is not None:
                raise self._library.KafkaException(one.error)
            _low, high = self._reader.get_watermark_offsets(one, timeout=self._timeout)
            found[f"{one.topic}/{one.partition}"] = high - one.offset if one.offset >= 0 else None
        return found

    def named(self, error: Exception) -> GoliveError:
        """Return what librdkafka complains of in golive's words."""
        self._reader.poll(0)  # only now does it tell what else it has seen
        told = error.args[0]
        if self._refusals or told.code() in {
            self._library.KafkaError._AUTHENTICATION,  # noqa: SLF001 - the library names its own codes so
            self._library.KafkaError.TOPIC_AUTHORIZATION_FAILED,
            self._library.KafkaError.GROUP_AUTHORIZATION_FAILED,
        }:
            return AccessDenied((self._refusals or [told.str()])[0], where=self._brokers)
        if told.code() in {self._library.KafkaError._TRANSPORT, self._library.KafkaError._ALL_BROKERS_DOWN}:  # noqa: SLF001
            return Unreachable(told.str(), where=self._brokers)
        if told.code() in {self._library.KafkaError._TIMED_OUT, self._library.KafkaError._MSG_TIMED_OUT}:  # noqa: SLF001
            return TimedOut(told.str(), where=self._brokers)
        return OutsideError(told.str(), where=self._brokers)

    def _consumer(self, group: str) -> Any:
        own = {
            "group.id": group,
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "allow.auto.create.topics": False,
            "auto.offset.reset": "error",
        }
        try:
            consumer = self._library.Consumer({**self._options, **own})
        except self._library.KafkaException as error:
            raise UserError(error.args[0].str(), where=self._brokers, do="correct the options") from error
        self._open.append(consumer)
        return consumer

    def _complained(self, error: Any) -> None:
        if error.code() == self._library.KafkaError._AUTHENTICATION:  # noqa: SLF001
            self._refusals.append(error.str())


def _topic(partitions: Sequence[Any]) -> Topic:
    return Topic(
        partitions=len(partitions),
        replicas=min((len(one.replicas) for one in partitions), default=0),
        in_sync=min((len(one.isrs) for one in partitions), default=0),
        leaderless=sum(one.leader < 0 for one in partitions),
    )


def _silent() -> logging.Logger:
    logger = logging.getLogger(f"{__name__}.librdkafka")
    logger.propagate = False
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())
    return logger
