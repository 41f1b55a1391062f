"""The database's engine and sessions."""

import os
from collections.abc import Iterator
from functools import cache

from sqlalchemy import Engine, create_engine
from sqlalchemy.orm import Session


@cache
def engine() -> Engine:
    """Return the engine of the database that DATABASE_URL names."""
    url = os.environ["DATABASE_URL"].replace("postgresql://", "postgresql+psycopg://", 1)
    settings = {"application_name": "neurohub", "connect_timeout": 5}
    return create_engine(url, pool_size=8, max_overflow=2, pool_timeout=5, connect_args=settings)


def get_db() -> Iterator[Session]:
    """Lend a session for the length of one request."""
    with Session(engine()) as db:
        yield db
