"""What the services keep in PostgreSQL, and how workers share the queue."""

from __future__ import annotations

import json
import queue
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import Any

import psycopg
from psycopg.rows import dict_row

from engine.statements import ADD, CLAIM, ENQUEUE

Row = dict[str, Any]

FIGURES = """
SELECT (SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()) AS database_connections,
       (SELECT count(*) FROM task_run WHERE finished_at > now() - interval '1 minute') AS task_processing_rate,
       (SELECT count(*) FROM worker WHERE seen_at > now() - interval '15 seconds') AS worker_active_count,
       (SELECT count(*) FROM due_work WHERE run_at <= now()) AS work_queue_size
"""


class Store:
    """The tables of the system; each call is one transaction."""

    def __init__(self, dsn: str, name: str) -> None:
        self._dsn, self._name = dsn, name
        self._idle: queue.LifoQueue[psycopg.Connection[Row]] = queue.LifoQueue(5)

    @contextmanager
    def _connection(self) -> Iterator[psycopg.Connection[Row]]:
        try:
            conn = self._idle.get_nowait()
        except queue.Empty:
            conn = psycopg.connect(
                self._dsn, row_factory=dict_row, connect_timeout=3, fallback_application_name=self._name
            )
        kept = False
        try:
            with conn.transaction():
                yield conn
            kept = not self._idle.full()
        finally:
            if kept:
                self._idle.put(conn)
            else:
                self._drop(conn)

    def _drop(self, conn: psycopg.Connection[Row]) -> None:
        """Close a connection, and those beside it that the server has ended with it."""
        conn.close()
        with suppress(queue.Empty):
            while conn.broken:
                self._idle.get_nowait().close()

    def _all(self, statement: str, values: Any = None) -> list[Row]:
        with self._connection() as conn:
            return conn.execute(statement.encode(), values).fetchall()

    def ping(self) -> None:
        """Raise `psycopg.Error` if the database does not answer."""
        self._all("SELECT 1 AS one")

    def agent(self, name: str) -> str | None:
        """Return an agent's id."""
        found = self._all("SELECT id::text FROM agent WHERE name = %s", (name,))
        return found[0]["id"] if found else None

    def add_task(self, agent: str, task: Mapping[str, Any], next_run: datetime) -> str:
        """Keep a task, with an entry in the audit log."""
        values = {"description": "", "priority": 5, **task, "payload": json.dumps(task["payload"])}
        with self._connection() as conn:
            (made,) = conn.execute(ADD.encode(), {**values, "next_run": next_run, "agent": agent})
            self._audit(conn, agent, "task.created", made["id"], {"title": task["title"]})
        return str(made["id"])

    def remove_task(self, agent: str, task_id: str) -> bool:
        """Remove a task with all its runs, and tell whether it was there."""
        with self._connection() as conn:
            gone = conn.execute("DELETE FROM task WHERE id = %s RETURNING title", (task_id,)).fetchone()
            if gone:
                self._audit(conn, agent, "task.deleted", task_id, gone)
        return gone is not None

    def _audit(self, conn: psycopg.Connection[Row], agent: str, action: str, subject: str, details: Row) -> None:
        conn.execute(
            "INSERT INTO audit_log (actor_agent_id, action, subject_id, details) VALUES (%s, %s, %s, %s)",
            (agent, action, subject, json.dumps(details)),
        )

    def task(self, task_id: str) -> Row | None:
        """Return a task with its runs."""
        found = self._all(
            "SELECT t.id::text, t.title, t.schedule_kind, count(r.id) AS runs, count(r.finished_at) AS finished, "
            "count(r.error) AS failed, min(r.started_at)::text AS started_at, max(r.finished_at)::text AS finished_at "
            "FROM task t LEFT JOIN task_run r ON r.task_id = t.id WHERE t.id = %s GROUP BY t.id",
            (task_id,),
        )
        return found[0] if found else None

    def tasks(self, limit: int = 20) -> list[Row]:
        """Return the newest tasks."""
        return self._all(
            "SELECT id::text, title, schedule_kind, schedule_expr FROM task ORDER BY created_at DESC LIMIT %s", (limit,)
        )

    def enqueue_due(self) -> int:
        """Put each task that is due into the queue, and return how many there were."""
        return int(self._all(ENQUEUE)[0]["enqueued"])

    def claim(self, worker: str) -> Row | None:
        """Take a piece of work that nobody else has, and keep it for a minute."""
        found = self._all(CLAIM, (worker,))
        return found[0] if found else None

    def finish(self, work: Row, worker: str, started: datetime, error: str | None) -> None:
        """Record what became of a piece of work, and take it out of the queue."""
        with self._connection() as conn:
            conn.execute("DELETE FROM due_work WHERE id = %s AND locked_by = %s", (work["id"], worker))
            # Its task may have been removed meanwhile.
            conn.execute(
                "INSERT INTO task_run (task_id, started_at, finished_at, error, worker) "
                "SELECT id, %s, now(), %s, %s FROM task WHERE id = %s FOR KEY SHARE",
                (started, error, worker, work["task_id"]),
            )

    def seen(self, worker: str) -> None:
        """Record that a worker lives."""
        self._all(
            "INSERT INTO worker (name) VALUES (%s) ON CONFLICT (name) DO UPDATE SET seen_at = now() RETURNING name",
            (worker,),
        )

    def figures(self) -> Row:
        """Return what is measured."""
        return self._all(FIGURES)[0]
