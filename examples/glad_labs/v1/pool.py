"""A small pool of PostgreSQL connections."""

from __future__ import annotations

import asyncio
import select
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import psycopg
from psycopg.pq import TransactionStatus
from psycopg.rows import dict_row

Connection = psycopg.AsyncConnection[dict[str, Any]]


class PoolExhausted(Exception):
    """No connection became free in time."""


class Pool:
    """Opens connections when they are needed, lends each to one task at a time, and drops those that broke."""

    def __init__(self, dsn: str, *, name: str, size: int = 5, wait: float = 5.0) -> None:
        self._dsn, self._name, self._wait = dsn, name, wait
        self._free = asyncio.Semaphore(size)
        self._idle: list[Connection] = []

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """Lend a connection in autocommit mode.

        Raises `PoolExhausted` if none becomes free in time, `psycopg.OperationalError` if the server does not answer.
        """
        try:
            async with asyncio.timeout(self._wait):
                await self._free.acquire()
        except TimeoutError as error:
            raise PoolExhausted(f"no connection became free within {self._wait:g} s") from error
        try:
            conn = await self._take()
            try:
                yield conn
            finally:
                # A connection whose task was cancelled half-way is of no use to the next.
                if conn.info.transaction_status is TransactionStatus.IDLE:
                    self._idle.append(conn)
                else:
                    await conn.close()
        finally:
            self._free.release()

    async def _take(self) -> Connection:
        while self._idle:
            conn = self._idle.pop()
            if not _was_dropped(conn):
                return conn
            await conn.close()
        return await psycopg.AsyncConnection.connect(
            self._dsn,
            autocommit=True,
            row_factory=dict_row,
            connect_timeout=2,
            fallback_application_name=self._name,
        )

    async def close(self) -> None:
        """Close what is idle."""
        while self._idle:
            await self._idle.pop().close()


def _was_dropped(conn: Connection) -> bool:
    """Tell whether the server has said something on an idle connection, as it does when it goes away."""
    if conn.closed:
        return True
    poll = select.poll()
    poll.register(conn.fileno(), select.POLLIN)
    return bool(poll.poll(0))
