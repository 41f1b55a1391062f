"""A verified backup (artefact, restore, comparison of all content) against what a checklist does by hand."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from pathlib import Path

from tasks.backups import Backup
from tasks.backups.dump import Dump
from tasks.backups.physical import Physical
from tasks.context import world
from tasks.domain import archive
from tests.benchmarks.production import Production, production, size_of
from tests.benchmarks.timing import Stopwatch, fill_page_cache, interleaved, medians, publish
from tests.places import OwnPlace

TARGETS = {"dump": 0.65, "physical": 0.30, "incremental": 0.22}
"""Of the time that the checklist takes by hand, which proves no more than row counts."""

SUMMARIZES = 17
"""The major version from which a server can tell what changed since a backup."""
CHANGES = 8000
"""Transactions between a whole backup and the one that builds upon it."""


def by_hand(of: Production, directory: Path) -> Callable[[Stopwatch], None]:
    """Return the checklist's way: a plain dump, restored by psql in the same server, every table counted."""

    def run(watch: Stopwatch) -> None:
        file = directory / "hand.sql"
        with watch.part("dump"):
            of.run("pg_dump", "--format=plain", f"--file={file}")
        with watch.part("restore"):
            of.run("createdb", "--template=template0", "hand", database="postgres")
            of.run("psql", "-qX", "-v", "ON_ERROR_STOP=1", "-f", str(file), database="hand")
        with watch.part("count"):
            for database in ("shop", "hand"):
                for table in ("pgbench_accounts", "pgbench_branches", "pgbench_tellers", "document"):
                    of.run("psql", "-qXAt", "-c", f"SELECT count(*) FROM {table}", database=database)
        of.run("dropdb", "hand", database="postgres")
        file.unlink()

    return run


def proven(
    kind: Backup, of: Production, directory: Path, name: str, upon: Path | None = None
) -> Callable[[Stopwatch], None]:
    """Return golive's way: take, copy, compare, as the steps of the phase do it.

    With ``upon`` it builds upon the whole backup there, made when it is first needed, after a few thousand changes.
    """
    numbers = count(1)

    def run(watch: Stopwatch) -> None:
        if upon is not None:
            if not upon.exists():
                kind.take(world(), of.dsn, upon, {"system": "shop", "release": "bench"})
            of.run("pgbench", "--client=2", f"--transactions={CHANGES // 2}", "--no-vacuum")
        at, place = world(), OwnPlace(world(), directory / "place", major=int(of.version))
        into = directory / f"{name}-{next(numbers)}"
        try:
            with watch.part("take"):
                known = [upon] if upon else []
                taken = kind.take(at, of.dsn, into, {"system": "shop", "release": "bench"}, known)
                kind.verify(at, taken)
            if bool(upon) != bool(kind.needs(taken)):
                raise RuntimeError(f"{name}: {taken.manifest.get('whole_because')}")
            with watch.part("copy"):
                copy = kind.copy_into(at, archive.load(into), place)
            with watch.part("compare"):
                kind.prove(at, archive.load(into), copy, of.dsn)
        finally:
            place.remove()
            at.host.remove_tree(into)

    return run


def main(directory: Path, *, scale: int, documents: int, rounds: int) -> None:
    """Measure and publish."""
    with production(directory / "production", scale=scale, documents=documents) as of:
        ways = {
            "by hand": by_hand(of, directory),
            "dump": proven(Dump(), of, directory, "dump"),
            "physical": proven(Physical(), of, directory, "physical"),
        }
        if int(of.version) >= SUMMARIZES:
            chained = Physical.model_validate({"full_every": "7d"})
            ways["incremental"] = proven(chained, of, directory, "incremental", directory / "whole")
        figures = medians(interleaved(ways, rounds, print, before=lambda: fill_page_cache(directory / "holes")))
        conditions = {"PostgreSQL": of.version, "GB": round(size_of(world(), of.dsn) / 1e9, 2), "rounds": rounds}
    publish("backup", conditions, figures, TARGETS)
