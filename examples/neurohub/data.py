"""Fills a database for the stand-in: ``python -m examples.neurohub.data --dsn-env NAME [--lots N]``.

Each lot has five serial numbers with five rows of process data each, so that 3,300 lots make more than 100,000 rows.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import psycopg

_SCHEMA = Path(__file__).parent / "v1" / "schema.sql"
_FILL = """
SELECT setseed(0.5);
INSERT INTO product_models (code) SELECT 'MODEL-' || i FROM generate_series(1, 5) i;
INSERT INTO processes (code) SELECT 'PROC-' || i FROM generate_series(1, 8) i;
INSERT INTO equipment (code) SELECT 'EQ-' || i FROM generate_series(1, 120) i;
INSERT INTO users (code) VALUES ('ann'), ('ben'), ('cleo');
INSERT INTO lots (lot_number, product_model_id, created_at, updated_at)
    SELECT 'LOT-' || i, 1 + i % 5, at, at
    FROM generate_series(1, {lots}) i, LATERAL (SELECT {now} - i * interval '1 minute' AS at) t;
INSERT INTO serials (serial_number, lot_id)
    SELECT 'SN-' || i, 1 + (i - 1) % {lots} FROM generate_series(1, {lots} * 5) i;
INSERT INTO wip_items (wip_number, serial_id) SELECT 'WIP-' || i, i FROM generate_series(1, {lots}) i;
INSERT INTO process_data (lot_id, serial_id, process_id, equipment_id, data_level, result, measurements, defects,
                          duration_seconds, started_at, completed_at)
    SELECT 1 + (s - 1) % {lots}, s, p, 1 + s % 120, 'SERIAL', result,
           jsonb_build_object('torque', round((random() * 10)::numeric, 2), 'unit', 'Nm')::text,
           CASE WHEN result = 'FAIL' THEN '[{{"type": "scratch"}}]' END,
           30, {now} - (s + p) * interval '1 minute', {now} - (s + p) * interval '1 minute' + interval '30 seconds'
    FROM generate_series(1, 5) p, generate_series(1, {lots} * 5) s,
         LATERAL (SELECT CASE WHEN (s + p) % 50 = 0 THEN 'FAIL' ELSE 'PASS' END AS result) r
    ORDER BY p, s;
CREATE TABLE alembic_version (version_num varchar(32) CONSTRAINT alembic_version_pkc PRIMARY KEY);
INSERT INTO alembic_version VALUES ('0001_initial');
"""


def create(dsn: str, *, lots: int = 3_300) -> int:
    """Create the schema of version 1, fill it, and return how many rows were written."""
    with psycopg.connect(dsn, connect_timeout=5) as conn:
        conn.execute(_SCHEMA.read_bytes())
        conn.execute(_FILL.format(lots=lots, now="(now() AT TIME ZONE 'UTC')").encode())
    with psycopg.connect(dsn, autocommit=True, connect_timeout=5) as conn:
        conn.execute("ANALYZE")
    return lots * (1 + 5 + 1 + 25)


def main() -> None:
    """Read the arguments, fill the database, and print how many rows were written."""
    parser = argparse.ArgumentParser(description="Fill a database for the NeuroHub stand-in.")
    parser.add_argument("--dsn-env", required=True, help="environment variable that holds the database's DSN")
    parser.add_argument("--lots", type=int, default=3_300)
    arguments = parser.parse_args()
    dsn = os.environ.get(arguments.dsn_env)
    if not dsn:
        parser.error(f"{arguments.dsn_env} is not set")
    sys.stdout.write(f"{create(dsn, lots=arguments.lots)} rows\n")


if __name__ == "__main__":
    main()
