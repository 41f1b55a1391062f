"""Sessions on the database that DATABASE_URL names, a copy of production or production itself: all is undone."""

from collections.abc import Iterator

import pytest
from app.database import engine
from sqlalchemy.orm import Session


@pytest.fixture
def db() -> Iterator[Session]:
    """A session in whose transaction, and savepoints, everything happens, and which is undone."""
    with engine().connect() as connection, connection.begin() as outer:
        connection.exec_driver_sql("SET LOCAL lock_timeout = '2s'")
        with Session(connection, join_transaction_mode="create_savepoint") as session:
            yield session
        outer.rollback()
