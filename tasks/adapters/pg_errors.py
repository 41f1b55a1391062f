"""What PostgreSQL's refusals mean to golive, told apart by SQLSTATE and never by their words."""

from __future__ import annotations

import ctypes
import re
import selectors
import sys
import time
from collections.abc import Mapping

import psycopg
from psycopg import pq

from tasks.domain.errors import (
    AccessDenied,
    ConnectionLost,
    DiskTooSmall,
    GoliveError,
    LockNotGranted,
    ServerTrouble,
    SqlFailed,
    TimedOut,
    Unreachable,
)

_CLASSES: tuple[tuple[str, type[GoliveError]], ...] = (
    ("55P03", LockNotGranted),
    ("57014", TimedOut),
    ("28", AccessDenied),
    ("42501", AccessDenied),
    ("57P01", ConnectionLost),  # admin_shutdown
    ("57P02", ConnectionLost),  # crash_shutdown
    ("57P05", ConnectionLost),  # idle_session_timeout
    ("25P03", ConnectionLost),  # idle_in_transaction_session_timeout
    ("25P04", ConnectionLost),  # transaction_timeout
    ("08", ConnectionLost),
    ("57P03", ServerTrouble),  # cannot_connect_now: it is starting, stopping or recovering
    ("53300", ServerTrouble),  # too_many_connections
    ("53100", DiskTooSmall),
)
"""Beginnings of SQLSTATEs and what they mean here; all others are `SqlFailed`.
See https://www.postgresql.org/docs/current/errcodes-appendix.html."""

_LOST = "see by its log why the server, or what lies between, ended the connection"
_DO: Mapping[type[GoliveError], str] = {
    ConnectionLost: _LOST,
    DiskTooSmall: "make room on the disk of that server, or point database.scratch or its directory elsewhere",
}
"""What to do where the server gives no hint."""


def translated(error: psycopg.Error, where: str, sql: str, *, closed: bool) -> GoliveError:
    """Return golive's error for the driver's; ``sql`` is what ran, ``closed`` whether the connection is gone."""
    sqlstate = error.sqlstate or ""
    diag = error.diag
    seen = diag.message_primary or " ".join(str(error).split())
    if diag.statement_position and sql:
        seen = f"line {1 + sql.count(chr(10), 0, int(diag.statement_position) - 1)}: {seen}"
    elif diag.context:
        seen += f" ({diag.context.splitlines()[0]})"
    if sqlstate:
        seen += f" [{sqlstate}]"
    # The detail is left out: it quotes rows, which may hold what must not leave the database.
    hint = diag.message_hint or ""
    if closed and not any(sqlstate.startswith(start) for start, _ in _CLASSES):
        return ConnectionLost(seen, where=where, do=hint or _LOST)
    return _error(sqlstate, seen, where, hint)


def _error(sqlstate: str, seen: str, where: str, do: str) -> GoliveError:
    for start, kind in _CLASSES:
        if sqlstate.startswith(start):
            return kind(seen, where=where, do=do or _DO.get(kind, ""))
    return SqlFailed(seen, sqlstate=sqlstate, where=where, do=do)


def cannot_connect(error: psycopg.Error, given: Mapping[str, str], where: str) -> GoliveError:
    """Return golive's error for a connection that did not come about with the options ``given``."""
    seen = " ".join(str(error).split())
    if isinstance(error, psycopg.errors.ConnectionTimeout):
        return Unreachable(seen, where=where, do="see that the server runs and that a firewall lets it be reached")
    sqlstate = error.sqlstate or _why_refused(given)
    if not sqlstate:
        asked = error.pgconn is not None and (error.pgconn.needs_password or error.pgconn.used_password)
        if asked:
            return AccessDenied(seen, where=where, do="see that user and password are right")
        return Unreachable(seen, where=where, do="see that the server runs and that host and port are right")
    if sqlstate.startswith("08"):
        return Unreachable(f"{seen} [{sqlstate}]", where=where)
    todo = {
        "3D000": "create the database, or correct its name in the DSN",
        "42501": "grant the user CONNECT on the database",
        "28": "see that user and password are right and that pg_hba.conf lets the user in",
        "53300": "close connections, or raise max_connections",
        "57P03": "wait until the server has started",
    }
    do = next((text for start, text in todo.items() if sqlstate.startswith(start)), "")
    return _error(sqlstate, f"{seen} [{sqlstate}]", where, do)


def _why_refused(given: Mapping[str, str]) -> str:
    """Connect once more, only to learn the SQLSTATE of a refusal; empty if no server answers.

    libpq tells the SQLSTATE of a failed connection only in its message, and only at the verbosity "sqlstate", which
    psycopg does not offer; the message's words depend on the server's language.
    """
    module = sys.modules[pq.PGconn.__module__]
    verbosity_sqlstate = 3
    try:
        library = ctypes.CDLL(str(module.__file__))
        set_verbosity = library.PQsetErrorVerbosity
    except (OSError, AttributeError):
        return ""
    set_verbosity.argtypes = [ctypes.c_void_p, ctypes.c_int]
    pgconn = pq.PGconn.connect_start(psycopg.conninfo.make_conninfo("", **given).encode())
    try:
        # Each of psycopg's implementations has the pointer, though their common protocol does not list it.
        set_verbosity(pgconn.pgconn_ptr, verbosity_sqlstate)  # type: ignore[attr-defined]
        _finish_connecting(pgconn, time.monotonic() + float(given["connect_timeout"]))
        match = re.search(r":\s+([0-9A-Z]{5})\s*$", pgconn.error_message.decode(errors="replace"))
        return match[1] if match else ""
    finally:
        pgconn.finish()


def _finish_connecting(pgconn: pq.abc.PGconn, deadline: float) -> None:
    while pgconn.status != pq.ConnStatus.BAD:
        state = pgconn.connect_poll()
        if state in (pq.PollingStatus.OK, pq.PollingStatus.FAILED):
            return
        event = selectors.EVENT_READ if state == pq.PollingStatus.READING else selectors.EVENT_WRITE
        with selectors.DefaultSelector() as selector:
            selector.register(pgconn.socket, event)
            if not selector.select(max(0.0, deadline - time.monotonic())):
                return
