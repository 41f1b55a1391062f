"""Fills the database of the stand-in: version 1's schema and users, and executions once there is a table for them.

``python -m examples.pilot2.data --dsn-env DATABASE_URL [--executions 10000]``, as a superuser. The same data come each
time.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import psycopg

ROLE = "pilot2_app"
"""The role of the application: no superuser, and owner of nothing."""
_SCHEMA = Path(__file__).parent / "v1" / "server" / "schema.sql"


def create(dsn: str, *, users: int = 200, runs: int = 500) -> None:
    """Make the application's role where it is missing, version 1's tables, and their rows; once."""
    with psycopg.connect(dsn) as conn:
        conn.execute(
            "DO $$ BEGIN CREATE ROLE pilot2_app LOGIN; EXCEPTION WHEN duplicate_object OR unique_violation THEN END $$"
        )
        if conn.execute("SELECT to_regclass('public.users')").fetchone() != (None,):
            return
        conn.execute(_SCHEMA.read_bytes())
        conn.execute(
            "INSERT INTO users (id, name) SELECT 'user_' || n, 'User ' || n FROM generate_series(1, %s) n", (users,)
        )
        conn.execute(
            "INSERT INTO scheduler_runs (job, status, timestamp) "
            "SELECT 'heartbeat', 'success', now() - n * interval '1 min' FROM generate_series(1, %s) n",
            (runs,),
        )


def execute(dsn: str, *, executions: int = 10_000, errors: int = 0, provider: str = "", minutes: int = 1380) -> None:
    """Add executions of all providers, or of one, over the last minutes; of each hundred, ``errors`` have failed."""
    with psycopg.connect(dsn) as conn:
        conn.execute(
            "INSERT INTO execution_logs (user_id, provider, action, status, latency_ms, timestamp) "
            "SELECT 'user_' || 1 + n %% 200, "
            "coalesce(nullif(%s, ''), (ARRAY['openai', 'groq', 'webhook', 'logic'])[1 + n %% 4]), 'act', "
            "CASE WHEN n %% 100 < %s THEN 'error' ELSE 'success' END, 20 + n %% 50, "
            "now() - n * %s * interval '1 min' / %s FROM generate_series(1, %s) n",
            (provider, errors, minutes, executions, executions),
        )


def main() -> None:
    """Read the arguments and fill."""
    parser = argparse.ArgumentParser(description="Fill the database of the stand-in.")
    parser.add_argument("--dsn-env", required=True, help="the environment variable that holds the DSN")
    parser.add_argument("--executions", type=int, default=0, help="how many executions are added (0)")
    arguments = parser.parse_args()
    dsn = os.environ[arguments.dsn_env]
    create(dsn)
    if arguments.executions:
        execute(dsn, executions=arguments.executions)
    sys.stdout.write("filled\n")


if __name__ == "__main__":
    main()
