"""The command that makes a watch's decisions again."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deployments.commands import AsJson, ReleaseId, book, command, print_json
from deployments.output import console, masked, plain_table, say
from tasks.domain.errors import ChecksFailed
from tasks.domain.outcome import Outcome

if TYPE_CHECKING:
    from rich.table import Table

    from tasks.replaying import Replayed
    from tasks.spec.release_file import ReleaseFile

_MARKS = {
    Outcome.PASSED: ("agrees", "green"),
    Outcome.FAILED: ("DIFFERS", "bold red"),
    Outcome.UNKNOWN: ("cannot be made again", "yellow"),
}
_MARKS_WITH_OTHERS = {**_MARKS, Outcome.PASSED: ("as it was", "green"), Outcome.FAILED: ("otherwise", "bold yellow")}


@command("replay")
def replay(
    release_id: ReleaseId,
    *,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="LIMIT=VALUE", help="Another limit, as errors.above=10% or success.slower=20%; repeatable."
        ),
    ] = None,
    with_: Annotated[
        Path | None,
        typer.Option("--with", metavar="FILE", help="A release file whose rollback.when and watch.success count."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make every decision of a release's watch again from the ledger alone, or see what other limits would do."""
    from tasks.replaying import replay as made_again

    ledger = book()
    other = _other(ledger.releases.get(release_id), set_ or [], with_)
    found = made_again(ledger, release_id, other)
    if as_json:
        print_json(as_values(release_id, found, changed=other is not None))
    else:
        _show(found, changed=other is not None)
    if other is None and (differ := found.count(Outcome.FAILED)):
        raise ChecksFailed(
            f"{differ} of {len(found.decisions)} decisions come out otherwise when they are made again",
            expected="the same from the same data by the same rules",
            do="see whether the ledger was changed by hand, or golive was of another version when it decided",
        )


def _other(row: Any, sets: list[str], file: Path | None) -> ReleaseFile | None:
    from tasks.spec.loading import read_text
    from tasks.spec.thresholds import with_thresholds

    if not sets and file is None:
        return None
    return with_thresholds(row.file_text, row.file, sets, read_text(file) if file is not None else "")


def as_values(release_id: str, found: Replayed, *, changed: bool) -> dict[str, Any]:
    """Return what a replay came to as values; times are ISO 8601 in UTC."""
    first = found.first
    return {
        "release": release_id,
        "changed": changed,
        "agree": found.count(Outcome.PASSED),
        "differ": found.count(Outcome.FAILED),
        "unknown": found.count(Outcome.UNKNOWN),
        "record_ends": found.ends.isoformat() if found.ends is not None else None,
        "first": {
            "at": first.at.isoformat(),
            "kind": first.finding.kind,
            "seen": first.finding.seen,
            "holds": first.holds.value,
        }
        if first is not None
        else None,
        "decisions": [
            {
                "at": one.at.isoformat(),
                "by": one.by,
                "decided": one.decided,
                "replayed": one.replayed,
                "agrees": one.agrees.value,
                "why": one.why,
            }
            for one in found.decisions
        ],
    }


def _show(found: Replayed, *, changed: bool) -> None:
    if not found.decisions:
        say("nothing was decided: the release was not watched")
        return
    console().print(_table(found, _MARKS_WITH_OTHERS if changed else _MARKS, changed=changed))
    counts = [f"{found.count(outcome)} {_words(changed)[outcome]}" for outcome in Outcome if found.count(outcome)]
    say(f"{len(found.decisions)} decisions: {', '.join(counts)}")
    if not changed:
        return
    if found.first is None:
        say("with these limits nothing would have been acted on, as far as the record goes")
    else:
        say(masked(f"first acted on: {found.first.finding.kind} at {_moment(found.first)}: {found.first.finding.seen}"))
    if found.ends is not None:
        say(f"the record of the guard ends at {found.ends:%Y-%m-%d %H:%M:%S} UTC: what came later is not known", "dim")


def _words(changed: bool) -> Mapping[Outcome, str]:
    return {outcome: words.lower() for outcome, (words, _) in (_MARKS_WITH_OTHERS if changed else _MARKS).items()}


def _moment(firing: Any) -> str:
    return f"{firing.at:%Y-%m-%d %H:%M:%S} UTC"


def _table(found: Replayed, marks: Mapping[Outcome, tuple[str, str]], *, changed: bool) -> Table:
    from rich.text import Text

    columns = ("at (UTC)", "by", "decided", "with these limits" if changed else "made again", "")
    table = plain_table(columns, {"at (UTC)", "by"})
    for one in found.decisions:
        words, style = marks[one.agrees]
        again = "the same" if one.replayed == one.decided else one.replayed
        table.add_row(
            Text(f"{one.at:%m-%d %H:%M:%S}"),
            Text(one.by),
            Text(masked(one.decided)),
            Text(masked(again)),
            Text(masked(f"{words}: {one.why}" if one.why else words), style=style),
        )
    return table
