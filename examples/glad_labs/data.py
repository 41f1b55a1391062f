"""Fills a database for the stand-in: ``python -m examples.glad_labs.data --dsn-env NAME [--tasks N] [--history N]``.

What is written depends on the seed and the numbers alone, apart from the times, which end now.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import psycopg

KNOWN_TASK = UUID("550e8400-e29b-41d4-a716-446655440000")
"""The task that the checklist asks for; it gets at least 50 audit entries."""

_SCHEMA = Path(__file__).parent / "v1" / "schema.sql"
_SPAN = timedelta(days=300)
_STATUSES = ("pending", "in_progress", "awaiting_approval", "approved", "published", "failed", "on_hold")
_WALK = ("pending", "in_progress", "awaiting_approval", "rejected", "in_progress", "awaiting_approval", "approved")
_PEOPLE = ("ann", "ben", "cleo", "task_executor")
_WORDS = ("audit", "block", "chart", "draft", "essay", "field", "guide", "house", "image", "joint", "knoll", "label")
_CHUNK = 5000


@dataclass(frozen=True)
class Written:
    """How many rows were written, and the seconds that it took."""

    tasks: int = 0
    events: int = 0
    history: int = 0
    took: float = 0.0


def create(dsn: str, *, tasks: int = 20_000, events: int = 100_000, seed: int = 1) -> Written:
    """Create the schema of version 1 and fill it; a database that already holds tasks is left as it is."""
    start, rng = time.monotonic(), random.Random(seed)
    with psycopg.connect(dsn, connect_timeout=5) as conn:
        conn.execute(_SCHEMA.read_bytes())
        if conn.execute("SELECT EXISTS (SELECT FROM content_tasks)").fetchone() == (True,):
            return Written(took=time.monotonic() - start)
        ids = [str(KNOWN_TASK), *(str(UUID(int=rng.getrandbits(128), version=4)) for _ in range(tasks - 1))][:tasks]
        _copy(conn, "content_tasks (id, title, status, metadata, created_at, updated_at)", _tasks(ids, rng))
        # One look at all rows is several times faster than one at each.
        conn.execute("ALTER TABLE task_events DROP CONSTRAINT task_events_task_id_fkey")
        _copy(conn, "task_events (task_id, event, at, payload)", _events(ids, events, rng))
        conn.execute("ALTER TABLE task_events ADD FOREIGN KEY (task_id) REFERENCES content_tasks ON DELETE CASCADE")
    _analyse(dsn, "content_tasks", "task_events")
    return Written(tasks=len(ids), events=events if ids else 0, took=time.monotonic() - start)


def fill_history(dsn: str, *, rows: int = 100_000, seed: int = 1) -> Written:
    """Add audit entries to existing tasks; nothing if there is no audit trail yet or there are no tasks."""
    start = time.monotonic()
    with psycopg.connect(dsn, connect_timeout=5) as conn:
        if conn.execute("SELECT to_regclass('task_status_history')").fetchone() == (None,):
            return Written(took=time.monotonic() - start)
        ids = [str(row[0]) for row in conn.execute("SELECT id FROM content_tasks ORDER BY id")]
        if not ids:
            return Written(took=time.monotonic() - start)
        columns = "task_id, old_status, new_status, reason, changed_by, timestamp, metadata"
        _copy(conn, f"task_status_history ({columns})", _history(ids, rows, random.Random(seed)))
    _analyse(dsn, "task_status_history")
    return Written(history=rows, took=time.monotonic() - start)


def _copy(conn: psycopg.Connection, target: str, rows: Iterable[tuple[str, ...]]) -> None:
    """Send rows in COPY's text format; no value of ours holds a tab, a line end or a backslash."""
    with conn.cursor() as cursor, cursor.copy(f"COPY {target} FROM STDIN".encode()) as copy:
        lines: list[str] = []
        for row in rows:
            lines.append("\t".join(row))
            if len(lines) == _CHUNK:
                copy.write("\n".join(lines) + "\n")
                lines.clear()
        if lines:
            copy.write("\n".join(lines) + "\n")


def _analyse(dsn: str, *tables: str) -> None:
    with psycopg.connect(dsn, autocommit=True, connect_timeout=5) as conn:
        for table in tables:
            conn.execute(f"ANALYZE {table}".encode())


def _times(count: int) -> Iterator[str]:
    """Return moments that rise evenly from `_SPAN` ago until now."""
    start = datetime.now(UTC) - _SPAN
    step = _SPAN / (count + 1)
    return ((start + step * i).isoformat() for i in range(count))


def _tasks(ids: list[str], rng: random.Random) -> Iterator[tuple[str, ...]]:
    for task_id, at in zip(ids, _times(len(ids)), strict=True):
        words = rng.sample(_WORDS, 4)
        metadata = json.dumps({"topic": words[0], "words": rng.randrange(300, 3000), "tags": words[2:]})
        yield task_id, f"{words[0].title()} and {words[1]}", rng.choice(_STATUSES), metadata, at, at


def _events(ids: list[str], count: int, rng: random.Random) -> Iterator[tuple[str, ...]]:
    if not ids:
        return
    for i, at in enumerate(_times(count)):
        payload = f'{{"by": "{rng.choice(_PEOPLE)}", "step": {i // len(ids)}}}'
        yield ids[i % len(ids)], "created" if i < len(ids) else "edited", at, payload


def _history(ids: list[str], count: int, rng: random.Random) -> Iterator[tuple[str, ...]]:
    """Walk the tasks through their statuses; one change in a hundred is refused, and the known task has 60 entries."""
    known = str(KNOWN_TASK) if str(KNOWN_TASK) in set(ids) else ids[0]
    first_known = max(0, count - 60)
    for i, at in enumerate(_times(count)):
        task_id = known if i >= first_known else ids[i % len(ids)]
        step = (i // len(ids)) % (len(_WALK) - 1)
        refused = rng.random() < 0.01
        new = "validation_failed" if refused else _WALK[step + 1]
        request = f'"request": "{rng.getrandbits(128):032x}", "agent": {{"name": "editor", "model": "draft-{step}"}}'
        context = f'{{{request}, "requested_status": "published"}}' if refused else f"{{{request}}}"
        yield task_id, _WALK[step], new, "in the course of work", rng.choice(_PEOPLE), at, context


def main() -> None:
    """Read the arguments, fill the database, and print what was written as JSON."""
    parser = argparse.ArgumentParser(description="Fill a database for the Glad Labs stand-in.")
    parser.add_argument("--dsn-env", required=True, help="environment variable that holds the database's DSN")
    parser.add_argument("--tasks", type=int, default=20_000)
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--history", type=int, default=0, help="audit entries to add, once migration 001 is applied")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    dsn = os.environ.get(arguments.dsn_env)
    if not dsn:
        parser.error(f"{arguments.dsn_env} is not set")
    written = [create(dsn, tasks=arguments.tasks, events=arguments.events, seed=arguments.seed)]
    if arguments.history:
        written.append(fill_history(dsn, rows=arguments.history, seed=arguments.seed))
    for part in written:
        sys.stdout.write(json.dumps(asdict(part)) + "\n")


if __name__ == "__main__":
    main()
