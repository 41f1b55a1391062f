"""What a rehearsal costs on a large database: the clone, and the migration against the same statements run by psql."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.adapters.postgres import Postgres
from tasks.context import world
from tests.benchmarks.production import Production, production, size_of
from tests.benchmarks.timing import fill_page_cache, publish_table
from tests.flows import SmallSystem, prefect_api

UP = {
    "1_column": "ALTER TABLE pgbench_accounts ADD COLUMN colour text NOT NULL DEFAULT 'none';",
    "2_index": "-- golive: no transaction\nCREATE INDEX CONCURRENTLY IF NOT EXISTS hued ON pgbench_accounts (colour);",
    "3_check": "ALTER TABLE pgbench_accounts ADD CONSTRAINT positive CHECK (aid > 0) NOT VALID;",
    "4_valid": "ALTER TABLE pgbench_accounts VALIDATE CONSTRAINT positive;",
}
DOWN = {
    "1_column": "ALTER TABLE pgbench_accounts DROP COLUMN colour;",
    "2_index": "-- golive: no transaction\nDROP INDEX CONCURRENTLY IF EXISTS hued;",
    "3_check": "ALTER TABLE pgbench_accounts DROP CONSTRAINT positive;",
    "4_valid": "SELECT 1;",
}
LIMITS = {"duration": "10min", "lock": "5min", "wait": "100ms", "tries": 3}


@dataclass(frozen=True)
class _Server:
    """Production's server, as the small system wants it."""

    of: Production

    def dsn(self, database: str = "postgres") -> str:
        return Postgres().with_database(self.of.dsn, database)


def bare(of: Production, database: str) -> float:
    """Return the seconds that psql takes for the same statements, on a copy."""
    of.run("createdb", f"--template={database}", "bare", database="postgres")
    began = time.perf_counter()
    for text in UP.values():
        of.run("psql", "-qX", "-v", "ON_ERROR_STOP=1", "-c", text.splitlines()[-1], database="bare")
    took = time.perf_counter() - began
    of.run("dropdb", "bare", database="postgres")
    return took


def rehearsed(system: SmallSystem, version: str) -> dict[str, Any]:
    """Back up and rehearse through the flows, and return the seconds of each step of the rehearsal."""
    system.add_version(version, up=UP, down=DOWN)
    system.phase("backup", version)
    fill_page_cache(system.home / "holes")
    system.phase("rehearse", version)
    steps = system.ledger.releases.steps(system.latest().id)
    return {one.name: (one.took, dict(one.detail)) for one in steps if one.event == "done"}


def main(directory: Path, *, scale: int, documents: int, rounds: int) -> None:
    """Measure once, and publish."""
    with production(directory / "production", scale=scale, documents=documents) as of, prefect_api():
        home = directory / "system"
        home.mkdir(mode=0o755)
        system = SmallSystem.make(home, _Server(of))
        try:
            of.run(
                "pgbench", "--initialize", "--quiet", f"--scale={scale}", database=world().databases.name_of(system.dsn)
            )
            system.write(
                {"database.scratch": {"place": "embedded"}, "migration.limits": LIMITS, "backup.timeout": "1h"}
            )
            system.phase("deploy", "v1")
            before = bare(of, world().databases.name_of(system.dsn))
            steps = rehearsed(system, "v2")
            after = bare(of, world().databases.name_of(system.dsn))  # the machine may be busier by now
            size = size_of(world(), system.dsn)
        finally:
            system.close()
    seconds = (before + after) / 2
    up = steps["migrate the copy up, down and up"][1]["upgrade"]["took"]
    clone = steps["copy the restored database"][1]["clone_seconds"]
    rows = {
        "clone": {"seconds": clone, "against bare": ""},
        "migration, bare, before": {"seconds": before, "against bare": before / seconds},
        "migration, bare, after": {"seconds": after, "against bare": after / seconds},
        "migration, rehearsed": {"seconds": up, "against bare": up / seconds},
        **{f"step: {name}": {"seconds": took, "against bare": took / seconds} for name, (took, _) in steps.items()},
    }
    conditions = {"PostgreSQL": of.version, "GB": round(size / 1e9, 2), "rounds": min(rounds, 1)}
    publish_table("rehearsal", conditions, rows, {"clone": "≤ 2.5 s"})
