"""Looks from inside a container whether what the service depends on can be reached: ``python -m service.reach``."""

from __future__ import annotations

import os
import sys

import psycopg
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient


def main() -> None:
    """Ask the database, and each broker of Kafka by itself; the exit code tells whether all answer."""
    missing = []
    try:
        with psycopg.connect(os.environ["DATABASE_URL"], connect_timeout=5) as conn:
            conn.execute("SELECT 1")
    except psycopg.OperationalError:
        missing.append("the database")
    for broker in os.environ["KAFKA_BROKERS"].split(","):
        try:
            AdminClient({"bootstrap.servers": broker, "log_level": 0}).list_topics(timeout=5)
        except KafkaException:
            missing.append(f"broker {broker}")
    sys.stdout.write(f"not reached: {', '.join(missing)}\n" if missing else "all reached\n")
    sys.exit(bool(missing))


if __name__ == "__main__":
    main()
