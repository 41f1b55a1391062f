"""The database's engine and sessions, the JSONB type, and who changes what."""

import os
from collections.abc import Iterator
from functools import cache
from typing import Any

from sqlalchemy import Dialect, Engine, TypeDecorator, create_engine, text
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import Session

from app.monitoring import query_monitor


class JSONB(TypeDecorator[Any]):
    """JSON that PostgreSQL can index; an empty list or object is kept as null, for GIN has nothing to find in it."""

    impl = postgresql.JSONB(none_as_null=True)
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:
        """Return what is stored for a value."""
        return value or None

    def process_result_value(self, value: Any, dialect: Dialect) -> Any:
        """Return a value as it was stored."""
        return value


@cache
def engine() -> Engine:
    """Return the engine of the database that DATABASE_URL names, with its queries watched."""
    url = os.environ["DATABASE_URL"].replace("postgresql://", "postgresql+psycopg://", 1)
    settings = {"application_name": "neurohub", "connect_timeout": 5}
    made = create_engine(url, pool_size=8, max_overflow=2, pool_timeout=5, connect_args=settings)
    query_monitor.watch(made)
    return made


def get_db() -> Iterator[Session]:
    """Lend a session for the length of one request."""
    with Session(engine()) as db:
        yield db


def set_audit_context(db: Session, user_id: str, client_ip: str = "") -> None:
    """Tell the audit triggers who changes what, until the transaction ends; both are values and never SQL."""
    db.execute(
        text("SELECT set_config('app.current_user_id', :user_id, true), set_config('app.client_ip', :client_ip, true)"),
        {"user_id": user_id, "client_ip": client_ip},
    )
