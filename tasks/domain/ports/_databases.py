"""Connections to PostgreSQL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

Row = dict[str, Any]


class Session(Protocol):
    """One connection to one database."""

    server_version: int
    """As ``server_version_num``: 160014 is 16.14."""

    def query(self, sql: str, params: Sequence[Any] | Mapping[str, Any] = ()) -> list[Row]:
        """Run one statement and return its rows as dictionaries."""
        ...

    def value(self, sql: str, params: Sequence[Any] | Mapping[str, Any] = ()) -> Any:
        """Return the first column of the first row, or None."""
        ...

    def execute(self, sql: str, params: Sequence[Any] | Mapping[str, Any] = ()) -> int:
        """Run one statement for its effect and return the number of rows it touched, or -1."""
        ...

    def script(self, sql: str) -> None:
        """Run the text of a SQL file as it is, by the simple protocol, in the open transaction if there is one."""
        ...

    def transaction(self) -> AbstractContextManager[None]:
        """Run a block in a transaction that commits at its end and rolls back on an error."""
        ...

    def backend_pid(self) -> int:
        """Return the process id of the server process behind this connection."""
        ...


class Databases(Protocol):
    """Opens connections.

    Errors come as `Unreachable`, `ConnectionLost`, `AccessDenied`, `LockNotGranted`, `TimedOut` (statement timeout) or
    `SqlFailed`, told apart by SQLSTATE and never by text.
    """

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
    ) -> AbstractContextManager[Session]:
        """Open a connection, closed at the end of the block; limits are in seconds, 0 means none."""
        ...

    def with_database(self, dsn: str, name: str) -> str:
        """Return the DSN of another database on the same server with the same credentials."""
        ...

    def name_of(self, dsn: str) -> str:
        """Return the name of the database that a DSN leads to."""
        ...

    def address_of(self, dsn: str) -> tuple[str, int]:
        """Return the host and the port that a DSN leads to; of several the first."""
        ...

    def login_of(self, dsn: str) -> tuple[str, str]:
        """Return the user as whom a DSN comes in, and the password that it holds, which may be none."""
        ...

    def with_address(self, dsn: str, host: str, port: int) -> str:
        """Return the DSN that leads to the same database by another host and port."""
        ...

    def redacted(self, dsn: str) -> str:
        """Return the DSN without its password, fit to be shown."""
        ...
