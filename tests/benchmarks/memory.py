"""How much memory a verified backup needs, at two sizes of the database: ``python -m tests.benchmarks memory``."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

from tasks.backups import Backup
from tasks.backups.dump import Dump
from tasks.backups.physical import Physical
from tasks.context import world
from tests.benchmarks.production import production, size_of
from tests.benchmarks.timing import publish_table
from tests.places import OwnPlace

KINDS: dict[str, Backup] = {"dump": Dump(), "physical": Physical(kind="physical")}
_MB = 1e6 / 1024
"""Linux tells the peak in units of 1,024 bytes."""


def in_a_process(directory: Path) -> None:
    """Make one verified backup of ``DSN``, and print the peak memory of golive and of the largest of its programs."""
    place = OwnPlace(world(), directory / "place", major=int(os.environ["MAJOR"]))
    kind, dsn = KINDS[os.environ["KIND"]], os.environ["DSN"]
    try:
        taken = kind.take(world(), dsn, directory / kind.kind, {"system": "shop", "release": "bench"})
        kind.verify(world(), taken)
        kind.prove(world(), taken, kind.copy_into(world(), taken, place), dsn)
        own, others = (
            resource.getrusage(who).ru_maxrss / _MB for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
        )
        print(json.dumps({"golive MB": own, "largest program MB": others}))
    finally:
        place.remove()


def main(directory: Path, *, scale: int, documents: int, rounds: int) -> None:
    """Measure a tenth of the size and all of it, and publish."""
    rows = {}
    for share in (10, 1):
        home = directory / f"share-{share}"
        home.mkdir(mode=0o755)
        with production(home / "production", scale=max(1, scale // share), documents=documents // share) as of:
            for kind in KINDS:
                env = {**os.environ, "DSN": of.dsn, "MAJOR": of.version, "KIND": kind}
                argv = [sys.executable, "-m", "tests.benchmarks.memory", str(home)]
                said = subprocess.run(argv, env=env, check=True, stdout=subprocess.PIPE, text=True, timeout=3600).stdout
                rows[f"{kind}, {size_of(world(), of.dsn) / 1e9:.2f} GB"] = json.loads(said.splitlines()[-1])
    publish_table("memory", {"rounds": min(rounds, 1)}, rows, {})


if __name__ == "__main__":
    in_a_process(Path(sys.argv[1]))
