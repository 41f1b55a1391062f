"""How a benchmark takes its times: interleaved rounds in one run, medians, ratios against the first."""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

RESULTS = Path("var/bench")


@dataclass
class Stopwatch:
    """Seconds by the names of the parts of one run."""

    parts: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Take the time of a block."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.parts[name] = self.parts.get(name, 0.0) + time.perf_counter() - began

    @property
    def total(self) -> float:
        """The seconds of all parts."""
        return sum(self.parts.values())


def interleaved(
    ways: Mapping[str, Callable[[Stopwatch], None]],
    rounds: int,
    tell: Callable[[str], None],
    before: Callable[[], None] = lambda: None,
) -> dict[str, list[Stopwatch]]:
    """Run each way once a round, in turn, so that the noise of the machine hits all alike.

    ``before`` runs before each, and is not timed.
    """
    taken: dict[str, list[Stopwatch]] = {name: [] for name in ways}
    for number in range(1, rounds + 1):
        for name, way in ways.items():
            before()
            os.sync()  # or one way would wait for the disk with what the one before it has written
            watch = Stopwatch()
            way(watch)
            taken[name].append(watch)
            parts = ", ".join(f"{part} {seconds:.2f}" for part, seconds in watch.parts.items())
            tell(f"round {number}: {name}: {watch.total:.2f} s ({parts})")
    return taken


def fill_page_cache(file: Path) -> None:
    """Leave no memory unused, as on a server that has run for a while, by reading a file that is all holes.

    A virtual machine may give memory that is freed back to its host. Whoever then writes a file first pays for that
    memory, at 0.4 GB/s on one such machine, and the second one finds it there: their times would not compare.
    """
    with Path("/proc/meminfo").open() as told:
        kilobytes = {name: int(value.split()[0]) for name, value in (line.split(":") for line in told)}
    with file.open("wb") as holes:
        holes.truncate(kilobytes["MemFree"] * 1024 + kilobytes["Cached"] * 1024)
    with file.open("rb", buffering=0) as holes:
        into = bytearray(1 << 20)
        while holes.readinto(into):
            pass


def medians(taken: Mapping[str, list[Stopwatch]]) -> dict[str, Any]:
    """Return, for each way, the median seconds, their range, and the median of the ratios to the first way."""
    first = next(iter(taken.values()))
    return {
        name: {
            "seconds": statistics.median(watch.total for watch in watches),
            "least": min(watch.total for watch in watches),
            "most": max(watch.total for watch in watches),
            "ratio": statistics.median(watch.total / other.total for watch, other in zip(watches, first, strict=True)),
            "parts": {
                part: statistics.median(watch.parts.get(part, 0.0) for watch in watches) for part in watches[0].parts
            },
        }
        for name, watches in taken.items()
    }


def publish(name: str, conditions: Mapping[str, Any], figures: Mapping[str, Any], targets: Mapping[str, float]) -> None:
    """Publish the medians of interleaved rounds."""
    rows = {
        way: {
            "seconds": one["seconds"],
            "range": f"{one['least']:.2f}–{one['most']:.2f}",
            "ratio": one["ratio"],
            "parts": ", ".join(f"{part} {seconds:.2f}" for part, seconds in one["parts"].items()),
        }
        for way, one in figures.items()
    }
    publish_table(name, conditions, rows, {way: f"ratio ≤ {most:g}" for way, most in targets.items()})


def publish_table(
    name: str, conditions: Mapping[str, Any], rows: Mapping[str, Mapping[str, Any]], targets: Mapping[str, str]
) -> None:
    """Print figures beside what is aimed at, and write them with their conditions to ``var/bench``."""
    where = {"cores": os.cpu_count(), "system": platform.platform(), "python": platform.python_version(), **conditions}
    RESULTS.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"conditions": where, "figures": rows, "targets": targets}, indent=1, ensure_ascii=False)
    (RESULTS / f"{name}.json").write_text(text + "\n")
    table = Table(title=f"{name}: {', '.join(f'{key} {value}' for key, value in where.items())}")
    for column in ("way", *next(iter(rows.values())), "aimed at"):
        table.add_column(column)
    for way, one in rows.items():
        shown = [f"{value:.2f}" if isinstance(value, float) else str(value) for value in one.values()]
        table.add_row(way, *shown, targets.get(way, ""))
    Console(width=160).print(table)
