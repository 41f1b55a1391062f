"""What an application at 150 transactions a second feels of a migration while a reader of 6 s is in the way."""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

from tasks.context import world
from tasks.domain.target import Target
from tasks.migrators.sql import Sql
from tests.benchmarks.application import ROWS
from tests.benchmarks.production import Production, production
from tests.benchmarks.timing import publish_table

RATE, READER = 150, 6.0
TARGET_MS = 20.0
_DATA = f"""
    DROP TABLE IF EXISTS golive_migrations, alembic_version, item, colour;
    CREATE TABLE colour (name text PRIMARY KEY); INSERT INTO colour VALUES ('none'), ('red');
    CREATE TABLE item (id int PRIMARY KEY, name text NOT NULL, stock int NOT NULL);
    INSERT INTO item SELECT n, md5(n::text), 0 FROM generate_series(1, {ROWS}) n;
    VACUUM ANALYZE item
"""
_NAIVE = """
from alembic import op
revision, down_revision = "a1", None
def upgrade():
    op.execute("ALTER TABLE item ADD COLUMN colour text NOT NULL DEFAULT 'none'")
    op.execute("CREATE INDEX item_name ON item (name)")
    op.execute("ALTER TABLE item ADD CONSTRAINT item_colour FOREIGN KEY (colour) REFERENCES colour")
"""
_ENV = """
import os
from alembic import context
from sqlalchemy import create_engine, pool
with create_engine(os.environ["DATABASE_URL"], poolclass=pool.NullPool).connect() as connection:
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()
"""
_FILES = {
    "1_column.sql": "ALTER TABLE item ADD COLUMN colour text NOT NULL DEFAULT 'none';",
    "2_index.sql": "-- golive: no transaction\nCREATE INDEX CONCURRENTLY IF NOT EXISTS item_name ON item (name);",
    "3_key.sql": "ALTER TABLE item ADD CONSTRAINT item_colour FOREIGN KEY (colour) REFERENCES colour NOT VALID;",
    "4_valid.sql": "ALTER TABLE item VALIDATE CONSTRAINT item_colour;",
}


def plain_alembic(of: Production, directory: Path) -> None:
    """Do it as an unwary revision does: one transaction, no timeout."""
    home = directory / "alembic"
    (home / "m" / "versions").mkdir(parents=True, exist_ok=True)
    (home / "m" / "env.py").write_text(_ENV)
    (home / "m" / "versions" / "a1.py").write_text(_NAIVE)
    (home / "alembic.ini").write_text("[alembic]\nscript_location = %(here)s/m\n")
    env = {**os.environ, "DATABASE_URL": of.dsn.replace("postgresql://", "postgresql+psycopg://")}
    argv = [sys.executable, "-m", "alembic", "upgrade", "head"]
    subprocess.run(argv, cwd=home, env=env, check=True, capture_output=True, timeout=600)


def golive(of: Production, directory: Path) -> None:
    """Do it as golive does, with the limits that it has by default."""
    home = directory / "sql"
    home.mkdir(exist_ok=True)
    for name, text in _FILES.items():
        (home / name).write_text(text)
    Sql(files=("*.sql",)).upgrade(Target(world(), "shop", "v2", dsn=of.dsn, root=directory, release_dir=home))


@contextmanager
def application(of: Production) -> Iterator[Callable[[], list[tuple[float, float]]]]:
    """Run the application during a block; what is given ends it and returns its latencies."""
    argv = [sys.executable, "-m", "tests.benchmarks.application", str(RATE)]
    process = subprocess.Popen(argv, env={**os.environ, "DSN": of.dsn}, stdout=subprocess.PIPE, text=True)

    def end() -> list[tuple[float, float]]:
        process.send_signal(signal.SIGTERM)
        said, _ = process.communicate(timeout=60)
        return [(due, seconds) for due, seconds in json.loads(said)]

    try:
        yield end
    finally:
        process.kill()


def reader(of: Production, ready: threading.Event) -> None:
    """Hold the table as a long report does."""
    with psycopg.connect(of.dsn) as connection:
        connection.execute("SELECT count(*) FROM item WHERE id < 1000")
        ready.set()
        time.sleep(READER)


def felt(of: Production, way: Callable[[], None]) -> dict[str, float]:
    """Return p50, p99 and the longest latency (ms) of what was due while the migration ran, and its seconds."""
    of.run("psql", "-qX", "-v", "ON_ERROR_STOP=1", *(word for one in _DATA.split(";") for word in ("-c", one)))
    with application(of) as end:
        time.sleep(2.0)
        ready = threading.Event()
        beside = threading.Thread(target=reader, args=(of, ready))
        beside.start()
        ready.wait()
        began = time.monotonic()
        way()
        ended = time.monotonic()
        beside.join()
        taken = end()
    during = sorted(seconds * 1000 for due, seconds in taken if began <= due <= ended)
    p99 = during[min(len(during) - 1, int(len(during) * 0.99))]
    return {
        "p50": statistics.median(during),
        "p99": p99,
        "most": during[-1],
        "n": len(during),
        "seconds": ended - began,
    }


def main(directory: Path, *, scale: int, documents: int, rounds: int) -> None:
    """Measure and publish; interleaved, the median of the rounds."""
    seen: dict[str, list[dict[str, float]]] = {"nothing": [], "plain alembic": [], "golive": []}
    with production(directory / "production", scale=1, documents=0) as of:
        ways: dict[str, Callable[[], None]] = {
            "nothing": lambda: time.sleep(READER),
            "plain alembic": lambda: plain_alembic(of, directory),
            "golive": lambda: golive(of, directory),
        }
        for _ in range(rounds):
            for name, way in ways.items():
                seen[name].append(felt(of, way))
                print(name, {key: round(value, 1) for key, value in seen[name][-1].items()})
        conditions: dict[str, Any] = {"PostgreSQL": of.version, "rows": ROWS, "per second": RATE, "rounds": rounds}
    rows = {
        name: {key: statistics.median(one[key] for one in several) for key in several[0]}
        for name, several in seen.items()
    }
    publish_table("latency", conditions, rows, {"golive": f"p99 < {TARGET_MS:g} ms"})
