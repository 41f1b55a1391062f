"""A Kafka that confluent-kafka plays on loopback: real clients speak to it over the real protocol."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager

from tests.parts import missing


def require_kafka() -> None:
    if importlib.util.find_spec("confluent_kafka") is None:
        missing("confluent-kafka is not installed")


@contextmanager
def kafka(*topics: str, brokers: int = 3) -> Iterator[str]:
    """Run a cluster with topics of four partitions, and give its brokers; it ends with its client."""
    require_kafka()
    from confluent_kafka import Producer

    producer = Producer({"test.mock.num.brokers": brokers, "bootstrap.servers": "none", "log_level": 0})
    for topic in topics:
        producer.list_topics(topic, timeout=10)
    known = producer.list_topics(timeout=10).brokers.values()
    yield ",".join(f"{broker.host}:{broker.port}" for broker in known)
    producer.flush(5)


def sent(brokers: str, topic: str, count: int) -> None:
    from confluent_kafka import Producer

    producer = Producer({"bootstrap.servers": brokers, "log_level": 0})
    for number in range(count):
        producer.produce(topic, str(number).encode(), partition=number % 4)
    assert producer.flush(10) == 0


def committed(brokers: str, group: str, topic: str, offsets: dict[int, int]) -> None:
    """Let a group of consumers have read each partition up to an offset."""
    from confluent_kafka import Consumer, TopicPartition

    consumer = Consumer({"bootstrap.servers": brokers, "group.id": group, "log_level": 0})
    places = [TopicPartition(topic, partition, offset) for partition, offset in offsets.items()]
    consumer.commit(offsets=places, asynchronous=False)
    consumer.close()
