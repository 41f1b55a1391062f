"""Poolers: one that gives each transaction another server session breaks locks and settings that outlast it."""

from __future__ import annotations

from tasks.domain.errors import Refused
from tasks.domain.ports import Session
from tasks.domain.target import Target

_PID = "SELECT pg_backend_pid()"
_LOOKS = 3


def require_direct(target: Target, session: Session) -> None:
    """Raise `Refused` if two sessions of the target's DSN share one session of the server, or one wanders.

    Behind a pooler the number of the process that answers is not the one that was told when the session began.
    """
    if session.value(_PID) == session.backend_pid():
        return
    for _ in range(_LOOKS):
        if _wanders(target, session):
            raise Refused(
                "the DSN leads through a pooler that gives each transaction another session of the server",
                expected="one session from beginning to end: the migration's lock and lock_timeout need it",
                where=target.world.databases.redacted(target.dsn),
                do="name the server itself in database.dsn, or a pooler in session mode; the application may go "
                "through the pooler by database.application_dsn",
            )


def _wanders(target: Target, session: Session) -> bool:
    own = session.value(_PID)
    with target.world.databases.session(target.dsn, statement_timeout=10) as other:
        if own == other.value(_PID):
            return True
        with other.transaction():
            return bool(own == other.value(_PID) or own != session.value(_PID))
