"""A pool of connections: so many are kept, so many more are lent at a rush, and nobody waits for ever."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from prometheus_client import Counter, Gauge
from psycopg.rows import dict_row

IN_USE = Gauge("db_pool_connections_in_use", "Connections that are lent now")
EXHAUSTED = Counter("db_pool_exhausted_total", "Requests that got no connection in time")
_WAIT = 5.0
Connection = psycopg.Connection[dict[str, Any]]


class PoolExhausted(Exception):
    """Every connection was lent for too long."""


class Pool:
    """Lends connections to threads."""

    def __init__(self, url: str, size: int, overflow: int) -> None:
        self._url, self._size = url, size
        self._free: queue.LifoQueue[Connection] = queue.LifoQueue()
        self._places = threading.Semaphore(size + overflow)
        EXHAUSTED.inc(0)

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """Lend a connection within a transaction; raises `PoolExhausted` if none is to be had."""
        if not self._places.acquire(timeout=_WAIT):
            EXHAUSTED.inc()
            raise PoolExhausted
        IN_USE.inc()
        try:
            conn = self._taken()
            try:
                with conn.transaction():
                    yield conn
            finally:
                if conn.broken or self._free.qsize() >= self._size:
                    conn.close()
                else:
                    self._free.put(conn)
        finally:
            IN_USE.dec()
            self._places.release()

    def _taken(self) -> Connection:
        while True:
            try:
                conn = self._free.get_nowait()
            except queue.Empty:
                return psycopg.connect(
                    self._url, row_factory=dict_row, autocommit=True, connect_timeout=3, application_name="workflow-api"
                )
            try:
                conn.execute("SELECT 1")
            except psycopg.OperationalError:
                conn.close()
            else:
                return conn
