"""The processes of this machine as the kernel tells of them, since not every system has the program ps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Running:
    """One process with its command line and its environment, which is empty where it may not be read."""

    pid: int
    words: str
    environment: str = field(repr=False)


def running() -> Iterator[Running]:
    """Give every process whose command line can be read."""
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes().decode(errors="replace").replace("\0", " ")
        except OSError:
            continue  # it has ended
        try:
            environment = (entry / "environ").read_bytes().decode(errors="replace")
        except OSError:
            environment = ""
        yield Running(int(entry.name), words, environment)
