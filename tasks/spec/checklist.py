"""The section of the release file that accounts for the rows of the system's checklist."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field, create_model, model_validator

from tasks.domain.checklist import By, Checklist, Claims, Cover, nearest
from tasks.domain.kind import Duration, Strict
from tasks.domain.marks import DOCUMENTS, MARKS
from tasks.domain.units import show_seconds

if TYPE_CHECKING:
    from tasks.spec.release_file import ReleaseFile

RowId = Annotated[str, Field(pattern=r"^\S{1,60}$", examples=["OR-101"])]
"""The id of a row of the checklist."""
Rows = tuple[RowId, ...]
At = tuple[str | int, ...]

_LIKE_A_ROW = re.compile(r"[A-Z][A-Z0-9]*-\d{3,}")


def _one_key_each(name: str, about: str, keys: Mapping[str, str]) -> type[Strict]:
    """Return a section with one key for each of a closed list of names, so that a wrong one is told like any other."""
    fields = {key: (Rows, Field(default=(), description=text)) for key, text in keys.items()}
    return create_model(name, __base__=Strict, __module__=__name__, __doc__=about, **fields)  # type: ignore[call-overload, no-any-return]


if TYPE_CHECKING:
    Steps = Strict
    Documents = Strict
else:
    Steps = _one_key_each(
        "Steps",
        "The rows that golive's own phases and steps decide: each is done or not, which is on record.",
        {mark.name: mark.about for mark in MARKS},
    )
    Documents = _one_key_each(
        "Documents", "The rows that a part of the report is, which golive fills in from the record.", DOCUMENTS
    )


PhaseName = Literal["preflight", "backup", "rehearse", "go", "migrate", "deploy", "health", "watch", "rollback"]


class Timing(Strict):
    """Rows that ask how long phases take, which the record of the release decides."""

    since: PhaseName
    """The phase from whose beginning on the time counts."""
    until: PhaseName | None = None
    """The phase up to which it counts; by default the same."""
    at: Literal["end", "beginning"] = "end"
    """Whether the end of ``until`` counts or its beginning."""
    at_most: Annotated[Duration, Field(gt=0, examples=["30 min"])]
    """The longest that it may be."""
    rows: Annotated[Rows, Field(min_length=1)]
    """The ids of the rows."""

    @model_validator(mode="after")
    def _spans_a_time(self) -> Self:
        if self.at == "beginning" and self.until in {None, self.since}:
            raise ValueError("from the beginning of a phase to its own beginning is no time; expected another until")
        return self

    @property
    def words(self) -> str:
        """What must hold."""
        if self.until in {None, self.since}:
            return f"{self.since} takes ≤ {show_seconds(self.at_most)}"
        return f"{self.at} of {self.until} ≤ {show_seconds(self.at_most)} after {self.since} began"


class Waiver(Strict):
    """Rows that are let go on purpose."""

    rows: Annotated[Rows, Field(min_length=1)]
    """Their ids."""
    because: Annotated[str, Field(min_length=3)]
    """Why, for whoever reads the report."""


class ChecklistSection(Strict):
    """What accounts for the rows of ``checklist.csv`` beside this file, together with the ``covers`` of each check."""

    steps: Steps = Steps()
    """The rows that golive's own phases and steps decide."""
    signed: dict[str, Rows] = Field(default_factory=dict)
    """The rows that a person vouches for, by the role of ``sign_off`` that signs."""
    timings: tuple[Timing, ...] = ()
    """The rows that the time decides which phases take."""
    documents: Documents = Documents()
    """The rows that a part of the report is."""
    waived: tuple[Waiver, ...] = ()
    """The rows that are let go, with the reason."""
    notes: dict[RowId, str] = Field(default_factory=dict)
    """By a row's id, where the document itself is wrong and what is done instead; shown beside the row."""

    def _listed(self) -> Iterator[tuple[By, str, Rows, At]]:
        for mark in MARKS:
            yield By.STEP, mark.name, getattr(self.steps, mark.name), ("steps", mark.name)
        for index, timing in enumerate(self.timings):
            yield By.TIMING, timing.words, timing.rows, ("timings", index, "rows")
        for name in DOCUMENTS:
            yield By.DOCUMENT, name, getattr(self.documents, name), ("documents", name)
        for role, rows in self.signed.items():
            yield By.SIGNATURE, role, rows, ("signed", role)


def _covers(file: ReleaseFile) -> Iterator[tuple[str, Cover, At]]:
    """Yield each id that something is said to cover, with what covers it and where the file says so."""
    for phase, check in file.checks.every():
        at: At = ("checks", phase, file.checks.of(phase).index(check), "covers")
        for index, number in enumerate(check.covers):
            yield number, Cover(By.CHECK, check.name, check.kind, phase), (*at, index)
    for position, switch in enumerate(file.switches):
        for index, number in enumerate(switch.covers):
            yield number, Cover(By.SWITCH, switch.name), ("switches", position, "covers", index)
    for by, name, rows, at in file.checklist._listed():  # noqa: SLF001 - the section's own module
        for index, number in enumerate(rows):
            yield number, Cover(by, name), ("checklist", *at, index)


def claims_of(file: ReleaseFile) -> Claims:
    """Return what a release file says of the rows of its system's checklist."""
    covers: dict[str, tuple[Cover, ...]] = {}
    for number, cover, _at in _covers(file):
        if cover not in covers.get(number, ()):
            covers[number] = (*covers.get(number, ()), cover)
    waived = {number: one.because for one in file.checklist.waived for number in one.rows}
    return Claims(covers, waived, dict(file.checklist.notes))


def contradictions(file: ReleaseFile) -> Iterator[tuple[str, At]]:
    """Yield where the section contradicts itself or ``sign_off``, with the place in the file."""
    signs = dict.fromkeys(role for gate in file.gates() for role in file.signers(gate))
    for role in file.checklist.signed:
        if role not in signs:
            yield (
                f"{role!r} signs nothing; expected a role of sign_off: {', '.join(signs) or 'there is none'}",
                ("checklist", "signed", role),
            )
    covered = {number: cover for number, cover, _at in _covers(file)}
    seen: set[str] = set()
    for first, one in enumerate(file.checklist.waived):
        for second, number in enumerate(one.rows):
            at: At = ("checklist", "waived", first, "rows", second)
            if number in covered:
                yield f"{number} is waived here and covered by {covered[number].by} {covered[number].name!r}", at
            if number in seen:
                yield f"{number} is waived twice", at
            seen.add(number)


def strangers(file: ReleaseFile, checklist: Checklist) -> Iterator[tuple[str, At]]:
    """Yield the ids that the checklist beside the file does not have, with the place in the file.

    Without a checklist a check may cover whatever its author likes to note, as a ticket or a page. What looks like a
    row is refused even so: it says that a row is decided, which nobody would ever see in any report.
    """
    rows = {row.id: row for row in checklist.rows}
    for number, at in _ids(file):
        row = rows.get(number)
        if not checklist.where:
            if at[0] == "checklist" or _LIKE_A_ROW.fullmatch(number):
                yield f"{number}: there is no checklist.csv beside this file; golive checklist import makes one", at
        elif row is None:
            asked = [row.id for row in checklist.asked]
            yield f"{number} is in no row of {checklist.where}; {nearest(number, asked)}", at
        elif row.removed:
            yield f"{number} was removed from the checklist on {row.removed}; expected a row that is asked", at


def _ids(file: ReleaseFile) -> Iterator[tuple[str, At]]:
    for number, _cover, at in _covers(file):
        yield number, at
    for first, one in enumerate(file.checklist.waived):
        for second, number in enumerate(one.rows):
            yield number, ("checklist", "waived", first, "rows", second)
    for number in file.checklist.notes:
        yield number, ("checklist", "notes", number)
