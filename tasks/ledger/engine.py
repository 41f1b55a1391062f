"""Connects to the ledger and brings its schema up to date."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files

from sqlalchemy import Engine, create_engine, text
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.orm import Session, sessionmaker

from tasks.domain.errors import LedgerTooNew, LedgerUnreachable

SCHEMA_HEAD = "0001"
"""The newest revision under ``migrations/versions``; a test holds the two together."""

_UPGRADE_LOCK = 7_264_501_118
_KNOWN_LOCK = threading.Lock()


def sqlalchemy_url(dsn: str) -> str:
    """Return the DSN in the form that makes SQLAlchemy use psycopg 3."""
    for scheme in ("postgresql://", "postgres://"):
        if dsn.startswith(scheme):
            return "postgresql+psycopg://" + dsn.removeprefix(scheme)
    return dsn


class LedgerEngine:
    """A pool of connections to the ledger, whose schema is brought up to date before first use."""

    def __init__(self, dsn: str) -> None:
        self._engine = create_engine(
            sqlalchemy_url(dsn),
            pool_size=4,
            max_overflow=12,
            pool_pre_ping=True,
            connect_args={"connect_timeout": 5, "application_name": "golive ledger"},
        )
        self._sessions = sessionmaker(self._engine, expire_on_commit=False)
        self._ready = False
        self._ready_lock = threading.Lock()

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """Run a block in one transaction; raises `LedgerUnreachable` if the ledger does not answer."""
        self.ensure_ready()
        try:
            with self._sessions.begin() as session:
                yield session
        except OperationalError as error:
            raise _unreachable(error) from error

    def ensure_ready(self) -> None:
        """Upgrade the schema if need be, once in this object's life."""
        if self._ready:
            return
        with self._ready_lock:
            if not self._ready:
                upgrade(self._engine)
                self._ready = True

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()


def _unreachable(error: DBAPIError) -> LedgerUnreachable:
    first = str(error.orig).strip().splitlines()[0] if error.orig else "no connection"
    return LedgerUnreachable(
        f"the ledger does not answer: {first}",
        do="start its PostgreSQL, or set GOLIVE_LEDGER_URL; nothing was changed without it",
    )


def revision_of(engine: Engine) -> str | None:
    """Return the schema revision that the ledger has, or None if it is empty."""
    with engine.connect() as connection:
        if connection.scalar(text("SELECT to_regclass('alembic_version')")) is None:
            return None
        found: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
        return found


def upgrade(engine: Engine, target: str = "head") -> None:
    """Bring the schema to ``target``, one process at a time.

    Raises `LedgerTooNew` if the schema is newer than this golive, and `LedgerUnreachable`.
    """
    try:
        found = revision_of(engine)
        if found == SCHEMA_HEAD and target == "head":
            return
        _run_alembic(engine, target)
    except OperationalError as error:
        raise _unreachable(error) from error


def downgrade(engine: Engine, target: str) -> None:
    """Take the schema back to ``target`` (``base`` removes it)."""
    _run_alembic(engine, target, down=True)


def _run_alembic(engine: Engine, target: str, *, down: bool = False) -> None:
    # Alembic takes a third of a second to import and is needed only when the schema changes.
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(files("migrations")))
    # Alembic keeps the state of a run in module globals, so one thread at a time.
    with _KNOWN_LOCK, engine.begin() as connection:
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _UPGRADE_LOCK})
        exists = connection.scalar(text("SELECT to_regclass('alembic_version')"))
        found = connection.scalar(text("SELECT version_num FROM alembic_version")) if exists else None
        known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
        if found is not None and found not in known:
            raise LedgerTooNew(
                f"the ledger's schema is at revision {found}",
                expected=f"{SCHEMA_HEAD} or older",
                do="use the golive that wrote it, or a newer one",
            )
        config.attributes["connection"] = connection
        (command.downgrade if down else command.upgrade)(config, target)
