"""A checklist's coverage, as values for ``--json`` and as tables for people."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

from rich.table import Table
from rich.text import Text

from deployments.output import plain_table
from tasks.domain.checklist import By, Cover, Covered, Way, by_program, counts, told

_STYLES = {Way.AUTOMATED: "green", Way.SIGNED: "cyan", Way.WAIVED: "yellow", Way.OPEN: "bold red"}


def as_json(system: str, rows: Sequence[Covered], shown: Sequence[Covered]) -> dict[str, Any]:
    """Return the coverage of all rows in figures, and the shown ones with what covers them."""
    done, of = by_program(rows)
    return {
        "system": system,
        "counts": {"rows": len(rows), **{str(way): number for way, number in counts(rows).items()}},
        "by_program": {"automated": done, "decidable": of},
        "rows": [_row(one) for one in shown],
    }


def _row(one: Covered) -> dict[str, Any]:
    row = one.row
    return {
        "id": row.id,
        "phase": row.phase,
        "section": row.section,
        "item": row.item,
        "nature": str(row.nature),
        "how": row.how,
        "way": str(one.way),
        "covered_by": [
            {"by": str(cover.by), "name": cover.name, "kind": cover.kind or None, "phase": cover.phase or None}
            for cover in one.covers
        ],
        "waived_because": one.waived or None,
        "note": one.note or None,
    }


def tables(rows: Sequence[Covered]) -> list[tuple[str, Table]]:
    """Return a table for each phase."""
    made = []
    for phase, group in groupby(rows, key=lambda one: one.row.phase):
        table = plain_table()
        table.add_column("id", no_wrap=True)
        table.add_column("nature", no_wrap=True)
        table.add_column("what is asked", overflow="fold", ratio=3)
        table.add_column("by", no_wrap=True)
        table.add_column("covered by", overflow="fold", ratio=2)
        for one in group:
            row = one.row
            asked = Text(row.item)
            if one.note:
                asked.append(f"\nnote: {one.note}", style="dim")
            table.add_row(
                Text(row.id), Text(row.nature), asked, Text(one.way, style=_STYLES[one.way]), Text(_covered_by(one))
            )
        made.append((phase, table))
    return made


def _covered_by(one: Covered) -> str:
    if one.waived:
        return f"because {one.waived}"
    return "\n".join(map(_said, one.covers)) or f"nothing; suggested: {one.row.how or 'nothing'}"


def _said(cover: Cover) -> str:
    if cover.by is By.CHECK:
        return f"{cover.name} ({cover.kind}, {cover.phase})"
    return f"{cover.by} {cover.name}"


def summary(rows: Sequence[Covered]) -> str:
    """Return the coverage in a line, with the share of what a program can decide."""
    done, of = by_program(rows)
    share = f"; of {of} that a program can decide {done} are automated ({done / of:.0%})" if of else ""
    return f"{told(rows)}{share}"
