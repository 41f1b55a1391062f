"""Simulate releases and judge them: ``python -m tests.simulation``; exits with 1 if what is aimed at was missed."""

from __future__ import annotations

import argparse
import sys
import time

from tests.benchmarks.timing import publish_table
from tests.simulation.running import SCENARIOS, simulate


def main() -> None:
    """Simulate, print the table beside what is aimed at, and write it to ``var/bench``."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--healthy", type=int, default=10_000, help="healthy releases (10,000)")
    parser.add_argument("--each", type=int, default=1000, help="releases of each fault (1,000)")
    parser.add_argument("--seed", type=int, default=1, help="another seed draws other releases (1)")
    parser.add_argument("--only", action="append", choices=list(SCENARIOS), help="one of them; may be given repeatedly")
    given = parser.parse_args()
    began = time.monotonic()
    wanted = {name: given.healthy if name == "healthy" else given.each for name in given.only or SCENARIOS}
    tallies = simulate(given.seed, wanted, lambda said: print(said, file=sys.stderr, flush=True))
    conditions = {"seed": given.seed, "seconds": round(time.monotonic() - began)}
    rows = {name: tally.row() for name, tally in tallies.items()}
    publish_table("simulation", conditions, rows, {name: one.aim for name, one in SCENARIOS.items() if one.aim})
    missed = [f"{name}: {SCENARIOS[name].aim}" for name, tally in tallies.items() if not SCENARIOS[name].met(tally)]
    if missed:
        sys.exit(f"missed: {'; '.join(missed)}")


if __name__ == "__main__":
    main()
