"""A system's checklist: its rows, what covers each of them, and how it stands in the file beside the release file."""

from __future__ import annotations

import csv
import difflib
import io
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from tasks.domain.errors import ReleaseFileError

FILE_NAME = "checklist.csv"
COLUMNS = ("id", "phase", "section", "item", "nature", "how")
"""The columns that a checklist must have."""
MORE_COLUMNS = ("origin", "removed")
"""The columns that golive's import adds."""
PHASES = ("preflight", "backup", "rehearse", "migrate", "deploy", "health", "monitor", "rollback", "report", "signoff")
"""The phases in the order in which they are shown; others follow."""


class Nature(StrEnum):
    """What a row asks for."""

    CHECK = "check"
    METRIC = "metric"
    ACTION = "action"
    ALERT = "alert"
    DOCUMENT = "document"
    PERSON = "person"


BY_PROGRAM = frozenset({Nature.CHECK, Nature.METRIC, Nature.ACTION, Nature.ALERT})
"""The natures of rows that a program can decide."""


@dataclass(frozen=True)
class Row:
    """One row: what is asked, in which phase and section, of what nature, and one way to do it.

    ``origin`` tells an imported row's text in the document again; ``removed`` is the day since which that lacks it.
    """

    id: str
    phase: str
    section: str
    item: str
    nature: Nature
    how: str = ""
    origin: str = ""
    removed: str = ""


@dataclass(frozen=True)
class Checklist:
    """The rows of a checklist in their order, and the path of its file; without a path there is no such file."""

    rows: tuple[Row, ...] = ()
    where: str = ""

    @property
    def asked(self) -> tuple[Row, ...]:
        """The rows that the document still has."""
        return tuple(row for row in self.rows if not row.removed)


def read_checklist(text: str, where: str = FILE_NAME) -> Checklist:
    """Return the checklist that a file's text holds; raises `ReleaseFileError` that lists every fault with its line."""
    reader = csv.reader(io.StringIO(text.removeprefix("\ufeff"), newline=""), strict=True)
    records: list[tuple[int, list[str]]] = []
    end = 0
    try:
        for record in reader:
            records.append((end + 1, record))
            end = reader.line_num
    except csv.Error as error:
        raise ReleaseFileError(f"not CSV: {error}", where=f"{where}:{end + 1}", do="mend the quotes") from error
    if not records:
        raise ReleaseFileError("is empty", expected=f"the columns {', '.join(COLUMNS)}", where=f"{where}:1")
    heads = [head.strip() for head in records[0][1]]
    if missing := [name for name in COLUMNS if name not in heads]:
        raise ReleaseFileError(
            f"{'column' if len(missing) == 1 else 'columns'} {', '.join(missing)} missing",
            expected=", ".join(COLUMNS),
            where=f"{where}:1",
        )
    faults: list[str] = []
    rows: dict[str, tuple[int, Row]] = {}
    for line, record in records[1:]:
        if not any(cell.strip() for cell in record):
            continue
        found = _row(heads, record, rows)
        if isinstance(found, Row):
            rows[found.id] = (line, found)
        else:
            faults.append(f"{where}:{line}: {found}")
    if faults:
        raise ReleaseFileError("\n".join(faults))
    return Checklist(tuple(row for _, row in rows.values()), where)


def _row(heads: Sequence[str], record: Sequence[str], known: Mapping[str, tuple[int, Row]]) -> Row | str:
    """Return the row of a record, or what is wrong with it."""
    if len(record) != len(heads):
        return f"{len(record)} fields; expected {len(heads)}, as in the first line"
    cells = {head: cell.strip() for head, cell in zip(heads, record, strict=True)}
    number, nature = cells["id"], cells["nature"]
    if not number or number.split() != [number]:
        return f"id {number!r}; expected one word, as in GL-001"
    if number in known:
        return f"id {number} stands in line {known[number][0]} too; expected each once"
    if nature not in set(Nature):
        near = difflib.get_close_matches(nature, list(Nature), 1)
        return f"no nature {nature!r}; " + (f"did you mean {near[0]}?" if near else f"expected {', '.join(Nature)}")
    if not cells["item"]:
        return f"{number} has no item; expected what is asked"
    given = {name: cells.get(name, "") for name in (*COLUMNS, *MORE_COLUMNS) if name != "nature"}
    return Row(nature=Nature(nature), **given)


def write_checklist(rows: Iterable[Row]) -> str:
    """Return the text of a file that holds the rows; the columns of an import only if any row has them."""
    kept = tuple(rows)
    heads = [*COLUMNS, *(name for name in MORE_COLUMNS if any(getattr(row, name) for row in kept))]
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(heads)
    writer.writerows([getattr(row, name) for name in heads] for row in kept)
    return out.getvalue()


class By(StrEnum):
    """What kind of thing covers a row."""

    CHECK = "check"
    STEP = "step"
    SWITCH = "switch"
    TIMING = "timing"
    DOCUMENT = "document"
    SIGNATURE = "signature"


@dataclass(frozen=True)
class Cover:
    """What covers a row: a check by name, kind and phase, a step, a switch, a time, a part of the report, a role."""

    by: By
    name: str
    kind: str = ""
    phase: str = ""


@dataclass(frozen=True)
class Claims:
    """What a release file says of the rows, by their ids: what covers them, why they are waived, what is noted."""

    covers: Mapping[str, tuple[Cover, ...]] = field(default_factory=dict)
    waived: Mapping[str, str] = field(default_factory=dict)
    notes: Mapping[str, str] = field(default_factory=dict)


class Way(StrEnum):
    """By what a row is accounted for."""

    AUTOMATED = "automated"
    SIGNED = "signed"
    WAIVED = "waived"
    OPEN = "open"


@dataclass(frozen=True)
class Covered:
    """A row with all that a release file says of it; ``waived`` is why, and empty if it is not."""

    row: Row
    covers: tuple[Cover, ...]
    waived: str
    note: str

    @property
    def way(self) -> Way:
        """By what it is accounted for; what a program decides counts as automated even if a person signs it too."""
        if self.waived:
            return Way.WAIVED
        if any(cover.by is not By.SIGNATURE for cover in self.covers):
            return Way.AUTOMATED
        return Way.SIGNED if self.covers else Way.OPEN


def coverage(checklist: Checklist, claims: Claims) -> tuple[Covered, ...]:
    """Return each row that is asked with what covers it, by phase."""
    order = {phase: number for number, phase in enumerate(PHASES)}
    rows = sorted(checklist.asked, key=lambda row: order.get(row.phase, len(order)))
    return tuple(
        Covered(row, claims.covers.get(row.id, ()), claims.waived.get(row.id, ""), claims.notes.get(row.id, ""))
        for row in rows
    )


def counts(rows: Iterable[Covered]) -> dict[Way, int]:
    """Return how many rows are accounted for in each way."""
    found = Counter(row.way for row in rows)
    return {way: found[way] for way in Way}


def by_program(rows: Iterable[Covered]) -> tuple[int, int]:
    """Return of the rows that a program can decide how many one does decide, and how many there are."""
    decidable = [row for row in rows if row.row.nature in BY_PROGRAM]
    return sum(row.way is Way.AUTOMATED for row in decidable), len(decidable)


def told(rows: Sequence[Covered]) -> str:
    """Return the coverage in a line."""
    number = counts(rows)
    return f"{len(rows)} rows: {', '.join(f'{number[way]} {way}' for way in Way)}"


def nearest(number: str, known: Iterable[str]) -> str:
    """Return what to say of an id that no row has: the likely right one, or that there is none."""
    near = difflib.get_close_matches(number, list(known), 1, 0.7)
    return f"did you mean {near[0]}?" if near else "expected the id of a row"
