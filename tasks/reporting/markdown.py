"""Tells a release in short, as GitHub-flavoured Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from tasks.domain import filling
from tasks.domain.outcome import Outcome
from tasks.reporting import rehearsal, sections, stages
from tasks.reporting.cards import figures, troubles
from tasks.reporting.sections import Cell, Table, backup_line, locks, tally
from tasks.reporting.values import ReleaseFacts, Tone
from tasks.reporting.words import SYMBOL, TONE_SYMBOL, cut, duration, moment, sign_of

_FIGURE = re.compile(r"[+−]?\d[\d.,\u202f]*(?: (?:\d+|[a-zA-Zµ%]{1,7})){1,3}")
"""A number with its unit, as in ``1 min 6 s`` and ``4 of 5``."""
_SPECIAL = re.compile(r"([\\`*_\[\]|~#])")


def escaped(text: str) -> str:
    """Return text from outside on one line, such that Markdown shows it as it is."""
    plain = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _SPECIAL.sub(r"\\\1", plain)


def to_markdown(facts: ReleaseFacts) -> str:
    """Return the verdict, the phases, what failed or stayed unknown, and the way back."""
    verdict = facts.verdict
    previous = f"{escaped(facts.previous)} → " if facts.previous else ""
    parts = [
        f"# {escaped(facts.system)} {previous}{escaped(facts.version)}",
        f"**{TONE_SYMBOL[verdict.tone]} {verdict.words}**" + (f": {escaped(verdict.why)}" if verdict.why else ""),
        f"Started {moment(facts.created)} by {escaped(facts.started_by)}: {escaped(facts.reason) or 'no reason given'}",
        *_look_first(facts),
        table(("", "", ""), [(line.name, line.value, line.note) for line in figures(facts)]),
        f"Backup: {backup_line(facts)}" + (f", manifest sha256 `{facts.backup.manifest}`" if facts.backup else ""),
        "## Phases",
        _phases(facts),
        "## Migration",
        _migration(facts),
        *(["## Moved most", _of(sections.moved(facts))] if facts.moved else []),
        "## Failed and unknown checks",
        _trouble(facts),
        *_stages(facts),
        *_checklist(facts),
        "## Not measured",
        "\n".join(f"- {escaped(one)}" for one in facts.not_measured) or "Nothing is missing.",
        "## Where to look",
        f"- Whole report: `golive report {facts.id}`\n- Where it stands: `golive status {facts.system}`",
    ]
    return "\n\n".join(parts) + "\n"


def _look_first(facts: ReleaseFacts) -> list[str]:
    lines = [
        f"- {TONE_SYMBOL[one.tone]} {escaped(one.name)}: {escaped(cut(one.seen))}"
        + (f" → {escaped(one.help)}" if one.help else "")
        for one in troubles(facts)[:4]
    ]
    return ["\n".join(lines)] if lines else []


def _stages(facts: ReleaseFacts) -> list[str]:
    found = [_of(one) for one in (stages.stages(facts), stages.statuses(facts)) if one.rows]
    return ["## Stages of the watch", *found] if found else []


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table of cells that are text."""
    lines = [heads, ["---"] * len(heads), *([_together(escaped(cell)) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _together(cell: str) -> str:
    """Return a cell; a figure is not parted from its unit."""
    return cell.replace(" ", "\u00a0") if _FIGURE.fullmatch(cell) else cell


def _migration(facts: ReleaseFacts) -> str:
    if facts.rehearsal is None:
        return "No rehearsal is on record."
    found = [_of(one) for one in (rehearsal.takes(facts), locks(facts), rehearsal.load(facts)) if one.rows]
    review = rehearsal.review(facts)
    found.append(f"Review of the SQL: {escaped(rehearsal.reviewed(facts).text)}")
    return "\n\n".join([*found, *([_of(review)] if review.rows else [])])


def _of(one: Table) -> str:
    rows = [[_in_line(cell) for cell in row] for row in one.rows]
    return f"{escaped(one.caption)}:\n\n{table(one.heads, rows)}"


def _phases(facts: ReleaseFacts) -> str:
    if not facts.periods:
        return "No phase has begun."
    rows = [
        (f"{SYMBOL[p.outcome] if p.ended else '…'} {p.label}", duration(p.seconds), p.ending) for p in facts.periods
    ]
    return table(("Phase", "Took", ""), rows)


def _checklist(facts: ReleaseFacts) -> list[str]:
    if not facts.checklist:
        return []
    parts = ["## Checklist", f"{filling.told(facts.checklist)}."]
    for phase, one in sections.checklist(facts):
        rows = [
            (f"{sign_of(cells[0].tone or Tone.PLAIN, cells[0].text)} {cells[0].text}", *map(_in_line, cells[1:]))
            for cells in one.rows
        ]
        parts += [f"### {escaped(phase.capitalize())}", table(one.heads, rows)]
    return parts


def _in_line(cell: Cell) -> str:
    return "; ".join((cell.text, *cell.below))


def _trouble(facts: ReleaseFacts) -> str:
    trouble = [check for check in facts.checks if check.outcome is not Outcome.PASSED]
    if not facts.checks:
        return "No check was made."
    if not trouble:
        return f"None. {tally(facts)}"
    rows = [
        (
            f"{SYMBOL[c.outcome]} {c.outcome}" + (f" × {c.times}" if c.times > 1 else ""),
            c.phase,
            c.name,
            c.seen,
            c.help,
        )
        for c in trouble
    ]
    return f"{tally(facts)}\n\n" + table(("Outcome", "Phase", "Check", "Seen", "Help"), rows)
