"""Benchmarks: ``python -m tests.benchmarks [NAME …]``; what they show goes to the terminal and to var/bench."""

from __future__ import annotations

import argparse
import inspect
import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.benchmarks import (
    backup,
    checks,
    latency,
    ledger,
    memory,
    messages,
    rehearsal,
    rollouts,
    systems,
    watching,
    way_back,
)  # fmt: skip

ALL: dict[str, Callable[..., None]] = {
    "backup": backup.main,
    "checks": checks.main,
    "latency": latency.main,
    "ledger": ledger.main,
    "memory": memory.main,
    "messages": messages.main,
    "rehearsal": rehearsal.main,
    "rollouts": rollouts.main,
    "systems": systems.main,
    "watching": watching.main,
    "way_back": way_back.main,
}


def main() -> None:
    """Run the named benchmarks, or all."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*ALL, []], help="which; all by default")
    parser.add_argument("--scale", type=int, default=130, help="pgbench's scale, 100,000 accounts each (130)")
    parser.add_argument("--documents", type=int, default=1_000_000, help="JSON documents (1,000,000)")
    parser.add_argument("--rounds", type=int, default=3, help="how often each way is measured (3)")
    parser.add_argument("--requests", type=int, default=2000, help="requests for each rollout and router (2,000)")
    parser.add_argument("--system", dest="only", action="append", default=[], help="which goes live; all by default")
    parser.add_argument("--rows", type=int, default=10_000_000, help="rows of the large ledger (10,000,000)")
    parser.add_argument("--systems", type=int, nargs="+", default=[100, 1000], help="how many are watched (100 1000)")
    parser.add_argument("--seconds", type=float, default=180.0, help="for how long they are watched (180)")
    parser.add_argument("--messages", type=int, default=messages.MESSAGES, help="messages through trouble (10,000)")
    parser.add_argument("--directory", dest="within", type=Path, default=Path("/var/tmp"), help="with room for 15 GB")
    given = parser.parse_args()
    for name in given.names or ALL:
        with tempfile.TemporaryDirectory(dir=given.within, prefix="golive-bench-") as directory:
            Path(directory).chmod(0o755)
            wanted = inspect.signature(ALL[name]).parameters
            ALL[name](Path(directory), **{key: value for key, value in vars(given).items() if key in wanted})


if __name__ == "__main__":
    main()
