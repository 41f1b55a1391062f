"""The way to the database, whose address and password come from the environment alone."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Semaphore
from typing import Any

import psycopg2
from psycopg2.extras import RealDictCursor
from psycopg2.pool import ThreadedConnectionPool

_POOL = 5


class DatabaseManager:
    """Lends connections of a pool, each for one transaction."""

    def __init__(self) -> None:
        self._pool: ThreadedConnectionPool | None = None
        self._free = Semaphore(_POOL)

    def get_connection(self) -> Any:
        """Return a connection that the caller closes."""
        return psycopg2.connect(os.environ["DATABASE_URL"], connect_timeout=2, application_name="pilot2")

    @contextmanager
    def session(self) -> Iterator[Any]:
        """Lend a cursor in a transaction."""
        with self._free:
            if self._pool is None:
                self._pool = ThreadedConnectionPool(
                    2, _POOL, os.environ["DATABASE_URL"], connect_timeout=2, application_name="pilot2"
                )
            connection = self._pool.getconn()
            try:
                with connection, connection.cursor(cursor_factory=RealDictCursor) as cursor:
                    yield cursor
            finally:
                self._pool.putconn(connection)

    def close(self) -> None:
        """Close what is idle; the next session opens connections anew."""
        if self._pool is not None:
            self._pool.closeall()
            self._pool = None


db_manager = DatabaseManager()
