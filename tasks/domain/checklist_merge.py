"""Merges what a document asks for into a checklist: the ids of unchanged rows stay, and no id is ever used twice."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date

from tasks.domain.checklist import Row
from tasks.domain.checklist_guess import how_of, nature_of, phase_of
from tasks.domain.markdown_checklist import Ask

_NUMBERED = re.compile(r"(.+)-(\d+)")


@dataclass(frozen=True)
class Merged:
    """The rows of the merged checklist, and the ids of those that are new, removed, or asked for once more."""

    rows: tuple[Row, ...]
    new: tuple[str, ...]
    removed: tuple[str, ...]
    returned: tuple[str, ...]


def prefix_of(rows: Iterable[Row], default: str) -> str:
    """Return what the ids of a checklist begin with, as its last row has it."""
    found = [match[1] for row in rows if (match := _NUMBERED.fullmatch(row.id))]
    return found[-1] if found else default


def merge(asks: Sequence[Ask], known: Sequence[Row], prefix: str, today: date) -> Merged:
    """Return a checklist of what is asked, in the document's order.

    A row whose text is unchanged keeps its id and whatever people have made of its other columns; one that the document
    no longer has stays as removed, so that its id stays taken. Rows that people have added themselves stay as they are.
    """
    of = _matched(asks, known)
    numbers = _numbers(known, prefix)
    rows, new, returned = [], [], []
    for index, ask in enumerate(asks):
        row = of.get(index)
        if row is None:
            nature = nature_of(ask)
            row = Row(
                next(numbers), phase_of(ask), _path(ask), ask.item, nature, how_of(ask, nature), origin_of(ask.item)
            )
            new.append(row.id)
        else:
            if row.removed:
                returned.append(row.id)
            section = _path(ask) if row.origin else row.section
            row = replace(row, section=section, origin=origin_of(ask.item), removed="")
        rows.append(row)
    there = {row.id for row in rows}
    gone = [row for row in known if row.id not in there]
    removed = [row.id for row in gone if row.origin and not row.removed]
    kept = [replace(row, removed=row.removed or (today.isoformat() if row.origin else "")) for row in gone]
    return Merged(_woven(rows, kept, known), tuple(new), tuple(removed), tuple(returned))


def origin_of(item: str) -> str:
    """Return by what the text of an item is known again: marks, case and spaces do not count."""
    words = re.sub(r"[`*_\s]+", " ", item).strip().rstrip(".:;").casefold()
    return hashlib.sha256(words.encode()).hexdigest()[:12]


def _path(ask: Ask) -> str:
    return " / ".join(ask.section)


def _matched(asks: Sequence[Ask], known: Sequence[Row]) -> dict[int, Row]:
    """Return the known row of each ask that has one: of the same text, in the same section before any other."""
    free: dict[str, list[Row]] = {}
    for row in known:
        free.setdefault(row.origin or origin_of(row.item), []).append(row)
    found: dict[int, Row] = {}
    for same_section in (True, False):
        for index, ask in enumerate(asks):
            candidates = free.get(origin_of(ask.item), [])
            fits = [row for row in candidates if not same_section or row.section == _path(ask)]
            if index not in found and fits:
                # A row that is asked now comes before one that was removed earlier.
                row = min(fits, key=lambda one: bool(one.removed))
                candidates.remove(row)
                found[index] = row
    return found


def _numbers(known: Iterable[Row], prefix: str) -> Iterator[str]:
    taken = [int(m[2]) for row in known if (m := _NUMBERED.fullmatch(row.id)) and m[1] == prefix]
    number = max(taken, default=0)
    while True:
        number += 1
        yield f"{prefix}-{number:03d}"


def _woven(rows: Sequence[Row], kept: Sequence[Row], known: Sequence[Row]) -> tuple[Row, ...]:
    """Put the rows that the document does not have where they stood, each behind the one that was before it."""
    before: dict[str, str] = {}
    last = ""
    for row in known:
        before[row.id] = last
        last = row.id
    behind: dict[str, list[Row]] = {}
    for row in kept:
        behind.setdefault(before[row.id], []).append(row)
    woven: list[Row] = []
    waiting = [*reversed(rows), *reversed(behind.get("", []))]
    while waiting:
        row = waiting.pop()
        woven.append(row)
        waiting.extend(reversed(behind.get(row.id, [])))
    return tuple(woven)
