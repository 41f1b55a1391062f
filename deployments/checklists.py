"""The commands about checklists: what covers each row, and one made from anybody's Markdown."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from deployments.commands import AsJson, System, app, command, print_json, settings
from deployments.output import console, note, say
from tasks.domain.errors import NotFound, UserError

_LARGEST = 10_000_000
"""Bytes of a document beyond which it is none that people have written."""


class _ShowByDefault(TyperGroup):
    """A group whose command ``show`` need not be named."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] != "--help":
            args = ["show", *args]
        return super().parse_args(ctx, args)


checklist = typer.Typer(
    cls=_ShowByDefault,
    help="Show what covers each row of a system's checklist, or make a checklist from a Markdown document.",
    no_args_is_help=True,
)
app.add_typer(checklist, name="checklist")


@command("show", checklist)
def show(
    system: System,
    *,
    only_open: Annotated[bool, typer.Option("--open", help="Only the rows that nothing covers.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show the rows of a system's checklist by phase with what covers each; the word show may be left out.

    Ends with exit code 1 if a row is open: neither covered by a check, a step, a part of the report or a signature,
    nor waived.
    """
    from deployments import looking_at_rows
    from tasks.domain.checklist import Way, coverage
    from tasks.spec import loading
    from tasks.spec.checklist import claims_of

    path = loading.find_release_file(settings().systems, system)
    file, rows = loading.load(path), loading.load_checklist(path)
    if not rows.where:
        raise NotFound(
            f"{system} has no checklist",
            expected=str(path.with_name("checklist.csv")),
            do="make it from a document: golive checklist import FILE.md --out …",
        )
    covered = coverage(rows, claims_of(file))
    shown = [one for one in covered if one.way is Way.OPEN] if only_open else covered
    if as_json:
        print_json(looking_at_rows.as_json(system, covered, shown))
    else:
        for phase, table in looking_at_rows.tables(shown):
            say(phase, "bold")
            console().print(table)
        say(looking_at_rows.summary(covered), "bold")
    if any(one.way is Way.OPEN for one in covered):
        raise typer.Exit(1)


@command("import", checklist)
def import_(
    document: Annotated[Path, typer.Argument(metavar="FILE.md", help="The Markdown document.", show_default=False)],
    *,
    prefix: Annotated[
        str, typer.Option("--prefix", metavar="XX", help="What ids begin with; by default as before, or CL.")
    ] = "",
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE.csv", help="Where it goes; by default beside the document."),
    ] = None,
    every_item: Annotated[
        bool, typer.Option("--all", help="Also list items and table rows that seem to ask for nothing.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Turn a Markdown checklist into a checklist.csv, with ids that stay, and guesses of nature and kind of check.

    If the file is there already the two are merged: rows whose text is unchanged keep their id and what people made of
    them, rows that are gone are marked as removed, and no id is used twice.
    """
    done = import_document(document, out or document.with_suffix(".csv"), prefix=prefix, every_item=every_item)
    if as_json:
        print_json(asdict(done))
    else:
        tell_of(done)


@dataclass(frozen=True)
class Imported:
    """What was made of a document: how many rows it ``asked`` for, how many were there before, and which are others."""

    file: str
    asked: int
    kept: int
    new: Sequence[str]
    removed: Sequence[str]
    returned: Sequence[str]
    left_out: int


def import_document(document: Path, path: Path, *, prefix: str = "", every_item: bool = False) -> Imported:
    """Write what a Markdown document asks for as a checklist, or merge it into the one that is there."""
    from tasks.domain.checklist import read_checklist, write_checklist
    from tasks.domain.checklist_merge import merge, prefix_of
    from tasks.domain.markdown_checklist import asked_in
    from tasks.spec.loading import read_text, replace_text

    if document.exists() and document.stat().st_size > _LARGEST:
        raise UserError(f"has {document.stat().st_size} bytes", expected=f"at most {_LARGEST}", where=str(document))
    if prefix and not re.fullmatch(r"[A-Z][A-Z0-9]{0,7}", prefix):
        raise UserError(f"{prefix!r} is no prefix", expected="up to eight capitals and digits, as in GL")
    found = asked_in(read_text(document), every_item=every_item)
    if not found.asks:
        raise UserError("asks for nothing", expected="boxes, steps, commands, figures", where=str(document))
    known = read_checklist(read_text(path), str(path)).rows if path.exists() else ()
    merged = merge(found.asks, known, prefix or prefix_of(known, "CL"), date.today())  # noqa: DTZ011 - a person's day
    replace_text(path, write_checklist(merged.rows))
    kept = len(found.asks) - len(merged.new)
    return Imported(str(path), len(found.asks), kept, merged.new, merged.removed, merged.returned, found.left_out)


def tell_of(done: Imported) -> None:
    """Say what was made of a document."""
    say(f"wrote {done.file}: {done.asked} rows asked for, {done.kept} as before, {len(done.new)} new")
    first = done.kept == 0 and not done.removed and not done.returned
    for what, ids in (("new", done.new), ("removed", done.removed), ("asked for again", done.returned)):
        if ids and not first:
            say(f"{what}: {', '.join(ids)}")
    if done.left_out:
        note(f"{done.left_out} list items or table rows seem to ask for nothing; --all takes them too")
