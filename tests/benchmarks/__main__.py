"""Benchmarks: ``python -m tests.benchmarks [NAME …]``; what they show goes to the terminal and to var/bench."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.benchmarks import backup, checks, latency, memory, messages, rehearsal, rollouts, systems

ALL: dict[str, Callable[..., None]] = {
    "backup": backup.main,
    "checks": checks.main,
    "latency": latency.main,
    "memory": memory.main,
    "messages": messages.main,
    "rehearsal": rehearsal.main,
    "rollouts": rollouts.main,
    "systems": systems.main,
}


def main() -> None:
    """Run the named benchmarks, or all."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*ALL, []], help="which; all by default")
    parser.add_argument("--scale", type=int, default=130, help="pgbench's scale, 100,000 accounts each (130)")
    parser.add_argument("--documents", type=int, default=1_000_000, help="JSON documents (1,000,000)")
    parser.add_argument("--rounds", type=int, default=3, help="how often each way is measured (3)")
    parser.add_argument("--requests", type=int, default=2000, help="requests for each rollout and router (2,000)")
    parser.add_argument("--messages", type=int, default=messages.MESSAGES, help="messages through trouble (10,000)")
    parser.add_argument("--directory", type=Path, default=Path("/var/tmp"), help="where there is room for 15 GB")
    given = parser.parse_args()
    for name in given.names or ALL:
        with tempfile.TemporaryDirectory(dir=given.directory, prefix="golive-bench-") as directory:
            Path(directory).chmod(0o755)
            if name == "rollouts":
                rollouts.main(Path(directory), requests=given.requests)
            elif name == "messages":
                messages.main(Path(directory), messages=given.messages)
            else:
                ALL[name](Path(directory), scale=given.scale, documents=given.documents, rounds=given.rounds)


if __name__ == "__main__":
    main()
