"""Fills a database for the stand-in: ``python -m examples.workflow_api.data --dsn-env NAME [--runs N]``."""

from __future__ import annotations

import argparse
import os
from importlib import util
from pathlib import Path
from types import ModuleType
from typing import Any

import psycopg

_BASE = Path(__file__).parent / "v1" / "migrations" / "versions" / "0001_base.py"


def create(dsn: str, *, agents: int = 20, workflows: int = 200, runs: int = 5_000) -> None:
    """Make version 1's schema as Alembic would, and fill it; what holds agents already is left as it is."""
    with psycopg.connect(dsn, connect_timeout=5) as conn:
        if conn.execute("SELECT to_regclass('agents')").fetchone() != (None,):
            return
        for statement in _statements():
            conn.execute(statement.encode())
        conn.execute("CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY)")
        conn.execute("INSERT INTO alembic_version VALUES ('0001')")
        conn.execute(
            "INSERT INTO agents (id, name, model) SELECT md5('agent' || i)::uuid, 'agent ' || i, "
            "(ARRAY['small', 'large'])[1 + i %% 2] FROM generate_series(0, %s - 1) i",
            (agents,),
        )
        conn.execute(
            "INSERT INTO workflows (id, name, agent_id) SELECT md5('workflow' || i)::uuid, 'workflow ' || i, "
            "md5('agent' || i %% %s)::uuid FROM generate_series(0, %s - 1) i",
            (agents, workflows),
        )
        conn.execute(
            "INSERT INTO workflow_runs (id, workflow_id, input, output, status, created_at, updated_at) "
            "SELECT md5('run' || i)::uuid, md5('workflow' || i %% %s)::uuid, jsonb_build_object('n', i), "
            "jsonb_build_object('echo', jsonb_build_object('n', i)), 'completed', now() - i * interval '1 min', "
            "now() - i * interval '1 min' + interval '2 s' FROM generate_series(1, %s) i",
            (workflows, runs),
        )
        conn.execute(
            "INSERT INTO audit_log (at, who, action, subject) SELECT created_at, 'ann', 'workflow.executed', id::text "
            "FROM workflow_runs UNION ALL SELECT updated_at, 'executor', 'run.completed', id::text FROM workflow_runs"
        )
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute("ANALYZE")


def _statements() -> list[str]:
    """Return what the first revision executes, without a database."""
    found: list[str] = []

    class Op(ModuleType):
        execute = staticmethod(found.append)

    spec = util.spec_from_file_location("base_revision", _BASE)
    if spec is None or spec.loader is None:
        raise ImportError(str(_BASE))
    module: Any = util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.op = Op("op")
    module.upgrade()
    return found


def main() -> None:
    """Read the arguments and fill the database."""
    parser = argparse.ArgumentParser(description="Fill a database for the Workflow API stand-in.")
    parser.add_argument("--dsn-env", required=True, help="environment variable that holds the database's DSN")
    parser.add_argument("--runs", type=int, default=5_000)
    arguments = parser.parse_args()
    dsn = os.environ.get(arguments.dsn_env)
    if not dsn:
        parser.error(f"{arguments.dsn_env} is not set")
    create(dsn, runs=arguments.runs)


if __name__ == "__main__":
    main()
