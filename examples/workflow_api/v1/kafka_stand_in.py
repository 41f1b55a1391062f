"""A Kafka for development and tests, without a JVM: confluent-kafka's own mock cluster behind a fixed port."""

from __future__ import annotations

import os
import socket
import sys
import threading

from confluent_kafka import Producer


def _pump(one: socket.socket, other: socket.socket) -> None:
    try:
        while data := one.recv(65536):
            other.sendall(data)
        other.shutdown(socket.SHUT_WR)
    except OSError:
        pass


def main() -> None:
    """Serve until killed; clients begin at KAFKA_PORT, and are told of the cluster's own port there."""
    cluster = Producer({"test.mock.num.brokers": 1, "bootstrap.servers": "none", "log_level": 0})
    cluster.list_topics("workflow-runs", timeout=10)
    (broker,) = cluster.list_topics(timeout=10).brokers.values()
    listener = socket.create_server(("127.0.0.1", int(os.environ.get("KAFKA_PORT", "9092"))))
    sys.stdout.write(f"ready at {listener.getsockname()[1]}\n")
    sys.stdout.flush()
    while True:
        client, _ = listener.accept()
        server = socket.create_connection((broker.host, broker.port))
        for pair in ((client, server), (server, client)):
            threading.Thread(target=_pump, args=pair, daemon=True).start()


if __name__ == "__main__":
    main()
