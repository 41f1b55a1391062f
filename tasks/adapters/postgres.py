"""PostgreSQL through psycopg: sessions whose errors are golive's own, told apart by SQLSTATE."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import pq
from psycopg.rows import dict_row

from tasks.adapters import dsn as dsns
from tasks.adapters.pg_errors import cannot_connect, translated
from tasks.domain.errors import GoliveError, SqlFailed
from tasks.domain.ports import Row

# A peer that vanished without a word is noticed within a minute, though a statement may run for hours.
_KEEPALIVE = {"keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3, "tcp_user_timeout": 60_000}


class Postgres:
    """Opens connections to PostgreSQL."""

    @contextmanager
    def session(
        self,
        dsn: str,
        *,
        autocommit: bool = True,
        read_only: bool = False,
        statement_timeout: float = 0,
        lock_timeout: float = 0,
        connect_timeout: float = 5.0,
        application: str = "golive",
    ) -> Iterator[PostgresSession]:
        """Open a connection, closed at the end of the block.

        Limits are in seconds, 0 means none; psycopg raises a ``connect_timeout`` below 2 s to 2 s. Without
        ``autocommit`` a block that ends well is committed, any other rolled back.
        Raises `Unreachable`, `AccessDenied`, `ServerTrouble`, `SqlFailed` (no such database) or `UserError` (the DSN).
        """
        given = dsns.options(dsn)
        where = dsns.redacted(dsn)
        given["connect_timeout"] = str(max(1, math.ceil(connect_timeout)))
        given["application_name"] = application
        given["client_encoding"] = "UTF8"
        for key, value in _KEEPALIVE.items():
            given.setdefault(key, str(value))
        try:
            # Prepared statements outlive a transaction, which a transaction pooler does not bear.
            conn = psycopg.connect(**given, autocommit=True, prepare_threshold=None, row_factory=dict_row)  # type: ignore[arg-type]
        except psycopg.Error as error:
            # Not chained: the library's error holds the connection's options, password included.
            raise cannot_connect(error, given, where) from None
        try:
            session = PostgresSession(conn, where)
            # By SET and not as start-up options, which poolers refuse.
            session.execute(
                "SELECT set_config('statement_timeout', %s, false), set_config('lock_timeout', %s, false)",
                (_milliseconds(statement_timeout), _milliseconds(lock_timeout)),
            )
            if read_only:
                session.execute("SET default_transaction_read_only = on")
            conn.autocommit = autocommit
            yield session
            if not autocommit:
                with session.errors():
                    conn.commit()
        finally:
            conn.close()

    def with_database(self, dsn: str, name: str) -> str:
        """Return the DSN of another database on the same server with the same credentials."""
        return dsns.with_database(dsn, name)

    def name_of(self, dsn: str) -> str:
        """Return the name of the database that a DSN leads to."""
        return dsns.name_of(dsn)

    def address_of(self, dsn: str) -> tuple[str, int]:
        """Return the host and the port that a DSN leads to; of several the first."""
        return dsns.address_of(dsn)

    def login_of(self, dsn: str) -> tuple[str, str]:
        """Return the user as whom a DSN comes in, and the password that it holds, which may be none."""
        return dsns.login_of(dsn)

    def with_address(self, dsn: str, host: str, port: int) -> str:
        """Return the DSN that leads to the same database by another host and port."""
        return dsns.with_address(dsn, host, port)

    def redacted(self, dsn: str) -> str:
        """Return the DSN without its password, fit to be shown."""
        return dsns.redacted(dsn)


class PostgresSession:
    """One connection to one database; every error carries the server's words and where, never a password."""

    def __init__(self, conn: psycopg.Connection[Row], where: str) -> None:
        self._conn, self._where = conn, where
        self._depth = 0
        self.server_version = conn.info.server_version

    def query(self, sql: str, params: Sequence[Any] | Mapping[str, Any] = ()) -> list[Row]:
        """Run one statement and return its rows; ``%s`` is a placeholder only if there are parameters."""
        with self.errors(sql):
            cursor = self._conn.execute(sql.encode(), params or None)
            return cursor.fetchall() if cursor.description else []

    def value(self, sql: str, params: Sequence[Any] | Mapping[str, Any] = ()) -> Any:
        """Return the first column of the first row, or None."""
        rows = self.query(sql, params)
        return next(iter(rows[0].values()), None) if rows else None

    def execute(self, sql: str, params: Sequence[Any] | Mapping[str, Any] = ()) -> int:
        """Run one statement for its effect and return the number of rows it touched, or -1."""
        with self.errors(sql):
            return self._conn.execute(sql.encode(), params or None).rowcount

    def script(self, sql: str) -> None:
        """Run the text of a SQL file as it is, by the simple protocol, in the open transaction if there is one.

        Outside a transaction PostgreSQL runs the whole text as one, unless it holds BEGIN and COMMIT of its own.
        Raises `SqlFailed` with ``line N`` of the text, also if the text leaves a transaction open or ends the
        caller's.
        """
        try:
            with self.errors(sql):
                # A text without parameters goes by the simple protocol, which takes several statements.
                self._conn.execute(sql.encode())
        except GoliveError:
            self._leave_own_transaction()
            raise
        status = self._conn.info.transaction_status
        if self._depth and status == pq.TransactionStatus.IDLE:
            raise SqlFailed(
                "the script ended the transaction that it was run in, and part of it may be committed",
                sqlstate="2D000",
                where=self._where,
                do="remove COMMIT and ROLLBACK from it",
            )
        if self._leave_own_transaction():
            raise SqlFailed(
                "the script left a transaction open; it was rolled back",
                sqlstate="25000",
                where=self._where,
                do="end it with COMMIT, or remove BEGIN",
            )

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Run a block in a transaction (a savepoint within another) that rolls back on an error."""
        with self.errors(), self._conn.transaction():
            self._depth += 1
            try:
                yield
            finally:
                self._depth -= 1

    def backend_pid(self) -> int:
        """Return the process id of the server process behind this connection."""
        return self._conn.info.backend_pid

    @contextmanager
    def errors(self, sql: str = "") -> Iterator[None]:
        """Turn the driver's errors within the block into golive's own; ``sql`` gives positions their line."""
        try:
            yield
        except psycopg.Error as error:
            raise translated(error, self._where, sql, closed=self._conn.closed) from error

    def _leave_own_transaction(self) -> bool:
        """Roll back what a script began itself, and tell whether there was such a thing."""
        idle = self._conn.info.transaction_status == pq.TransactionStatus.IDLE
        if self._depth or idle or not self._conn.autocommit or self._conn.closed:
            return False
        with self.errors():
            self._conn.rollback()
        return True


def _milliseconds(seconds: float) -> str:
    # Rounded up, since 0 would mean no limit at all.
    return str(math.ceil(seconds * 1000))
