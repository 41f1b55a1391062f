"""Looks after the database: ``python manage_db.py validate`` tells what is not as it should be.

``python manage_db.py base`` takes a scratch database through the whole chain, down to where there is no revision.
"""

import os
import secrets
import sys
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
from alembic import command
from alembic.config import Config

DEFECTS = """
SELECT 'constraint ' || conname || ' is not validated' FROM pg_constraint WHERE NOT convalidated
UNION ALL SELECT 'index ' || indexrelid::regclass || ' is not valid' FROM pg_index WHERE NOT (indisvalid AND indisready)
UNION ALL SELECT 'trigger ' || tgname || ' on ' || tgrelid::regclass || ' is off' FROM pg_trigger WHERE tgenabled = 'D'
"""
REVISION = "SELECT version_num FROM alembic_version"


def validate() -> list[str]:
    """Return what is wrong with the database that DATABASE_URL names; of the newest schema also any difference."""
    with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as conn:
        wrong = [row[0] for row in conn.execute(DEFECTS)]
        newest = conn.execute(REVISION).fetchall() == [("0003_add_wip_unique_index",)]
    if newest:
        try:
            command.check(_config())
        except Exception as error:  # noqa: BLE001 - whatever Alembic finds is told
            wrong.append(str(error))
    return wrong


def base() -> list[str]:
    """Return what is left of a database made beside TEST_DATABASE_URL after a way up, and down to no revision."""
    given, name = os.environ["TEST_DATABASE_URL"], f"neurohub_base_{secrets.token_hex(5)}"
    with psycopg.connect(given, autocommit=True) as conn:
        conn.execute(f"CREATE DATABASE {name}")
        try:
            os.environ["DATABASE_URL"] = urlunsplit(urlsplit(given)._replace(path=f"/{name}"))
            command.upgrade(_config(), "head")
            command.downgrade(_config(), "base")
            with psycopg.connect(os.environ["DATABASE_URL"]) as made:
                left = made.execute(
                    "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace "
                    "AND relkind = 'r' AND relname <> 'alembic_version'"
                ).fetchall()
                return [row[0] for row in (*left, *made.execute(REVISION).fetchall())]
        finally:
            conn.execute(f"DROP DATABASE {name} WITH (FORCE)")


def _config() -> Config:
    return Config(Path(__file__).parent / "alembic.ini")


if __name__ == "__main__":
    found = {"validate": validate, "base": base}[sys.argv[1]]()
    sys.stdout.write("\n".join(found or ["nothing is wrong"]) + "\n")
    sys.exit(bool(found))
