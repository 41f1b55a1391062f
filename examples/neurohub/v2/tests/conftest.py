"""A database of the tests' own, beside the one that TEST_DATABASE_URL names, and sessions that leave nothing in it."""

import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
from alembic import command
from alembic.config import Config

ROOT = Path(__file__).parents[1]
SEED = """
INSERT INTO product_models (code) SELECT 'M-' || i FROM generate_series(1, 3) i;
INSERT INTO processes (code) SELECT 'P-' || i FROM generate_series(1, 3) i;
INSERT INTO equipment (code) SELECT 'E-' || i FROM generate_series(1, 110) i;
INSERT INTO lots (lot_number, product_model_id) SELECT 'L-' || i, 1 + i %% 3 FROM generate_series(1, 110) i;
INSERT INTO serials (serial_number, lot_id) SELECT 'S-' || i, i FROM generate_series(1, 110) i;
INSERT INTO wip_items (wip_number, serial_id) SELECT 'W-' || i, i FROM generate_series(1, 110) i;
INSERT INTO process_data (lot_id, serial_id, process_id, equipment_id, data_level, result, measurements, started_at)
    SELECT i, i, 1, i, 'SERIAL', 'PASS', '{"torque": 1.5}', now() - interval '1 hour' FROM generate_series(1, 110) i;
"""


def _beside(url: str, name: str) -> str:
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))


@pytest.fixture(scope="session", autouse=True)
def database() -> Iterator[str]:
    """The URL of a new database, which is also that of the application."""
    given, name = os.environ["TEST_DATABASE_URL"], f"neurohub_test_{secrets.token_hex(5)}"
    with psycopg.connect(given, autocommit=True) as conn:
        conn.execute(f"CREATE DATABASE {name}")
    os.environ["DATABASE_URL"] = _beside(given, name)
    try:
        yield os.environ["DATABASE_URL"]
    finally:
        from app.database import engine

        engine().dispose()
        with psycopg.connect(given, autocommit=True) as conn:
            conn.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="session")
def alembic(database: str) -> Config:
    """Alembic's configuration, as from the command line."""
    return Config(ROOT / "alembic.ini")


@pytest.fixture(scope="session")
def seeded(alembic: Config) -> None:
    """The newest schema, with a page and a bit of each kind of row."""
    from app.database import engine

    command.upgrade(alembic, "head")
    with engine().begin() as connection:
        connection.exec_driver_sql(SEED)


@pytest.fixture
def db(seeded: None) -> Iterator[Any]:
    """A session whose changes are undone."""
    from app.database import engine
    from sqlalchemy.orm import Session

    with engine().connect() as connection, connection.begin() as outer:
        with Session(connection, join_transaction_mode="create_savepoint") as session:
            yield session
        outer.rollback()


@pytest.fixture
def client(seeded: None) -> Iterator[Any]:
    """A client of the application."""
    from app.main import app
    from fastapi.testclient import TestClient

    with TestClient(app) as opened:
        yield opened
