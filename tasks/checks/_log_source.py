"""Where the lines of a log come from: files of the host, or a command that prints them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, tzinfo
from typing import Any

from tasks.checks._files import PIECE, Entry, find, find_below, pieces
from tasks.domain.errors import Inconclusive, TimedOut
from tasks.domain.log_lines import moment_of
from tasks.domain.ports import Command
from tasks.domain.target import Target

LEFT_OUT = " bytes left out …"


def files_of(target: Target, patterns: tuple[str, ...], *, timeout: float) -> list[Entry]:
    """Return the log files that match patterns."""
    found = [entry for pattern in patterns for entry in find(target, pattern, timeout=timeout)]
    return [entry for entry in found if entry.type == "f"]


def offsets_of(entries: list[Entry]) -> dict[str, dict[str, int]]:
    """Return how long each file is, to read on from there later."""
    return {entry.path: {"inode": entry.inode, "size": entry.size} for entry in entries}


def lines_since_offset(
    target: Target, entries: list[Entry], offsets: Mapping[str, Mapping[str, Any]], *, timeout: float
) -> Iterator[str]:
    """Give what was written since the files were as long as on record; of one that was rotated, the rest of it too."""
    for entry in entries:
        before = offsets.get(entry.path, {"inode": 0, "size": 0})
        start = 0
        if before["inode"] == entry.inode:
            start = before["size"] if before["size"] <= entry.size else 0  # else it was emptied in place
        elif before["inode"]:
            for rotated in find_below(
                target, [str(_parent(entry.path))], ["-maxdepth", "1", "-inum", str(before["inode"])], follow=False,
                timeout=timeout,
            ):  # fmt: skip
                yield from _lines(target, rotated, before["size"], timeout=timeout)
        yield from _lines(target, entry, start, timeout=timeout)


def lines_since_time(
    target: Target, entries: list[Entry], start: datetime, zone: tzinfo, *, timeout: float
) -> Iterator[str]:
    """Give what was written since a moment, and somewhat more, without reading the files from their beginnings."""
    now = target.world.clock.now()
    for entry in entries:
        if entry.modified < start.timestamp():
            continue
        place = entry.size
        while place > 0:
            place = max(0, place - PIECE)
            text = next(pieces(target, entry.path, place, min(place + PIECE, entry.size), timeout=timeout), "")
            moments = (moment_of(line, zone, now) for line in text.splitlines()[1:] if line)
            first = next((moment for moment in moments if moment), None)
            if first and first < start:
                break
        yield from _lines(target, entry, place, timeout=timeout)


def lines_of_command(target: Target, argv: tuple[str, ...], start: datetime | None, *, timeout: float) -> list[str]:
    """Return the lines that a command prints; ``{since}`` and ``{epoch}`` are the moment from which on."""
    moment, epoch = (start.strftime("%Y-%m-%dT%H:%M:%SZ"), f"{start.timestamp():.0f}") if start else ("", "")
    words = tuple(target.fill(word.replace("{since}", moment).replace("{epoch}", epoch)) for word in argv)
    ended = target.world.host.run(Command(words, timeout=timeout))
    text = f"{ended.stdout}\n{ended.stderr}"  # docker and kubectl keep the two streams apart
    if LEFT_OUT in text:
        raise Inconclusive("more lines than can be kept", where=argv[0], do="ask for a shorter time")
    return [line for line in text.splitlines() if line]


def _lines(target: Target, entry: Entry, start: int, *, timeout: float) -> Iterator[str]:
    clock = target.world.clock
    began = clock.monotonic()
    for text in pieces(target, entry.path, start, entry.size, timeout=timeout):
        if clock.monotonic() - began > timeout:
            raise TimedOut("more was written than can be read in time", where=entry.path)
        yield from (line for line in text.splitlines() if line)


def _parent(path: str) -> str:
    return path.rpartition("/")[0] or "/"
