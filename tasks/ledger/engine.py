"""Connects to the ledger and brings its schema up to date."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files

from sqlalchemy import Engine, create_engine, event, text
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolExhausted
from sqlalchemy.orm import Session, sessionmaker

from tasks.domain.errors import LedgerError, LedgerTooNew, LedgerUnreachable, UserError

SCHEMA_HEAD = "0005"
"""The newest revision under ``migrations/versions``; a test holds the two together."""

STATEMENT_TIMEOUT = "30s"
"""After which PostgreSQL gives up a statement of the ledger, one that waits for a lock too."""

_KEEPALIVE = {"keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3, "tcp_user_timeout": 60_000}
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
        try:
            self._engine = create_engine(
                sqlalchemy_url(dsn),
                pool_size=4,
                max_overflow=12,
                pool_pre_ping=True,
                connect_args={"connect_timeout": 5, "application_name": "golive ledger", **_KEEPALIVE},
            )
        except ArgumentError:
            # Not chained: the library's error may quote the DSN with its password.
            raise UserError(
                "the ledger's DSN cannot be read",
                expected="postgresql://USER:PASSWORD@HOST:PORT/DATABASE",
                do="mend GOLIVE_LEDGER_URL",
            ) from None
        event.listen(self._engine, "connect", _limit)
        self._sessions = sessionmaker(self._engine, expire_on_commit=False)
        self._ready = False
        self._ready_lock = threading.Lock()

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """Run a block in one transaction.

        Raises `LedgerUnreachable` if the ledger does not answer and `LedgerError` if it refuses; a constraint that is
        violated comes as it is, for the caller knows what it means.
        """
        self.ensure_ready()
        with _as_ledger_errors(), self._sessions.begin() as session:
            yield session

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


def _limit(connection: DBAPIConnection, _record: object) -> None:
    # By SET and not as a start-up option, which poolers refuse.
    cursor = connection.cursor()
    cursor.execute(f"SET statement_timeout = '{STATEMENT_TIMEOUT}'")
    cursor.close()
    connection.commit()


@contextmanager
def _as_ledger_errors() -> Iterator[None]:
    try:
        yield
    except (OperationalError, PoolExhausted) as error:
        raise _unreachable(error) from error
    except IntegrityError:
        raise
    except DBAPIError as error:
        if error.connection_invalidated:
            raise _unreachable(error) from error
        raise LedgerError(
            f"the ledger refused: {_first_line(error)}", do="see that its role owns the ledger's database"
        ) from error


def _first_line(error: DBAPIError | PoolExhausted) -> str:
    said = str(error.orig if isinstance(error, DBAPIError) else error).strip()
    return said.splitlines()[0] if said else "no connection"


def _unreachable(error: DBAPIError | PoolExhausted) -> LedgerUnreachable:
    first = _first_line(error)
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

    Raises `LedgerTooNew` if the schema is newer than this golive, `LedgerUnreachable`, and `LedgerError` if the role
    may not do that.
    """
    with _as_ledger_errors():
        found = revision_of(engine)
        if found == SCHEMA_HEAD and target == "head":
            return
        _run_alembic(engine, target)


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
