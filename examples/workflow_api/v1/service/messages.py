"""What goes through Kafka: the ids of runs that are to be executed."""

from __future__ import annotations

import json
import threading
from typing import Any

from confluent_kafka import Consumer, KafkaError, Producer

GROUP = "workflow-executor"


class NotDelivered(Exception):
    """No broker has confirmed a message in time."""


class Publisher:
    """Publishes, and returns once a broker has confirmed."""

    def __init__(self, brokers: str) -> None:
        self._producer = Producer(
            {"bootstrap.servers": brokers, "message.timeout.ms": 5000, "linger.ms": 0, "log_level": 0}
        )

    def publish(self, topic: str, message: dict[str, Any]) -> dict[str, Any]:
        """Send a message; return its topic, partition and offset, or raise `NotDelivered`."""
        done = threading.Event()
        told: list[tuple[KafkaError | None, Any]] = []

        def confirmed(error: KafkaError | None, where: Any) -> None:
            told.append((error, where))
            done.set()

        self._producer.produce(topic, json.dumps(message).encode(), on_delivery=confirmed)
        for _ in range(60):
            self._producer.poll(0.1)
            if done.is_set():
                break
        if not told or told[0][0] is not None:
            raise NotDelivered(str(told[0][0]) if told else "no answer")
        where = told[0][1]
        return {"topic": where.topic(), "partition": where.partition(), "offset": where.offset()}

    def brokers(self) -> int:
        """Return how many brokers answer; raises `KafkaException` if none does."""
        return len(self._producer.list_topics(timeout=3).brokers)


def subscribed(brokers: str, topic: str) -> Consumer:
    """Return a consumer of a topic for the executor's group, which commits what was done."""
    consumer = Consumer(
        {
            "bootstrap.servers": brokers, "group.id": GROUP, "enable.auto.commit": False, "log_level": 0,
            "auto.offset.reset": "earliest", "session.timeout.ms": 6000, "topic.metadata.refresh.interval.ms": 1000,
            "allow.auto.create.topics": True,
        }
    )  # fmt: skip
    consumer.subscribe([topic], on_assign=_begin)
    return consumer


def _begin(consumer: Consumer, partitions: list[Any]) -> None:
    """Put on record where the group begins, so that it can be told how far it is behind before the first message."""
    fresh = [one for one in consumer.committed(partitions, timeout=10) if one.offset < 0]
    for one in fresh:
        one.offset = consumer.get_watermark_offsets(one, timeout=10)[0]
    if fresh:
        consumer.commit(offsets=fresh, asynchronous=False)
