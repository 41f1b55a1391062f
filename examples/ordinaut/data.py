"""Fills a database for the stand-in: ``python -m examples.ordinaut.data --dsn-env NAME [--tasks N]``."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import psycopg
from psycopg import sql

_SCHEMA = Path(__file__).parent / "v1" / "schema.sql"
_ROLE = """
DO $$ BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'ordinaut') THEN CREATE ROLE ordinaut LOGIN; END IF;
END $$;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO ordinaut;
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO ordinaut;
GRANT pg_read_all_stats TO ordinaut;
"""
_FILL = """
INSERT INTO agent (name) VALUES ('system'), ('calendar'), ('mail') ON CONFLICT DO NOTHING;
INSERT INTO task (title, schedule_kind, schedule_expr, payload, created_by, created_at)
SELECT 'Task ' || i, 'once', (now() - i * interval '1 minute')::text, '{"pipeline": [{"id": "a", "uses": "noop"}]}',
       (SELECT id FROM agent ORDER BY name OFFSET i % 3 LIMIT 1), now() - i * interval '1 minute'
FROM generate_series(1, %(tasks)s) AS i;
INSERT INTO task_run (task_id, started_at, finished_at, error, worker)
SELECT id, created_at, created_at + interval '40 ms', CASE WHEN random() < 0.002 THEN 'no answer' END, 'seed'
FROM task, generate_series(1, 3);
INSERT INTO audit_log (actor_agent_id, action, subject_id, at)
SELECT created_by, 'task.created', id, created_at FROM task;
"""


def create(dsn: str, *, tasks: int = 5_000, password: str = "") -> None:
    """Create the schema of version 1, the application's role, and tasks with their runs."""
    with psycopg.connect(dsn, connect_timeout=5) as conn:
        conn.execute(_SCHEMA.read_bytes())
        conn.execute(_ROLE.encode())
        if password:
            conn.execute(sql.SQL("ALTER ROLE ordinaut PASSWORD {}").format(sql.Literal(password)))
        name = sql.Identifier(conn.info.dbname)
        conn.execute(sql.SQL("REVOKE CONNECT ON DATABASE {} FROM PUBLIC").format(name))
        conn.execute(sql.SQL("GRANT CONNECT ON DATABASE {} TO ordinaut").format(name))
        if conn.execute("SELECT EXISTS (SELECT FROM task)").fetchone() == (False,):
            for statement in _FILL.replace("%(tasks)s", str(tasks)).split(";\n"):
                conn.execute(statement.encode())
    with psycopg.connect(dsn, autocommit=True, connect_timeout=5) as conn:
        conn.execute("ANALYZE")


def main() -> None:
    """Read the arguments and fill the database."""
    parser = argparse.ArgumentParser(description="Fill a database for the Ordinaut stand-in.")
    parser.add_argument("--dsn-env", required=True, help="environment variable that holds the database's DSN")
    parser.add_argument("--tasks", type=int, default=5_000)
    arguments = parser.parse_args()
    dsn = os.environ.get(arguments.dsn_env)
    if not dsn:
        parser.error(f"{arguments.dsn_env} is not set")
    create(dsn, tasks=arguments.tasks, password=os.environ.get("ORDINAUT_PASSWORD", ""))
    sys.stdout.write("filled\n")


if __name__ == "__main__":
    main()
