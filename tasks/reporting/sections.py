"""Puts the facts into the tables and cards of a report. A table without rows says what there was none of."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tasks.domain.filling import WORST_FIRST, Filled, Found, Standing
from tasks.domain.locks import blocks
from tasks.domain.outcome import Outcome
from tasks.domain.units import show_bytes
from tasks.reporting.checklist import by_phase
from tasks.reporting.values import CheckRun, ReleaseFacts, Tone
from tasks.reporting.words import (
    NO_DATA,
    SYMBOL,
    change,
    check_phase,
    count,
    counted,
    duration,
    figure,
    percent,
    stamp,
    tone_of,
)

PLACES = ("rehearsal", "production")
_TOLD_ELSEWHERE = {"schema", "counters", "growth", "under_load", "review", "limits"}
"""What of a rehearsal has a table of its own, or is too long to be read."""
_WORST = {Outcome.FAILED: 0, Outcome.UNKNOWN: 1, Outcome.PASSED: 2}


@dataclass(frozen=True)
class Cell:
    """One cell: a text, with a tone if it is a state, and smaller lines beneath."""

    text: str
    tone: Tone | None = None
    below: tuple[str, ...] = ()
    code: bool = False


@dataclass(frozen=True)
class Table:
    """A table with its caption; ``figures`` are the columns that hold numbers, ``widths`` are in percent."""

    caption: str
    heads: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    figures: frozenset[int] = frozenset()
    widths: tuple[int, ...] = ()


_EVENTS = {
    "done": Cell("done", Tone.GOOD),
    "failed": Cell("failed", Tone.BAD),
    "started": Cell("no end", Tone.WARN, ("on record",)),
}


def table(
    caption: str,
    heads: str,
    rows: Iterable[Sequence[Cell | str]],
    figures: Iterable[int] = (),
    widths: tuple[int, ...] = (),
) -> Table:
    """Return a table; ``heads`` are parted by ``|``."""
    cells = tuple(tuple(cell if isinstance(cell, Cell) else Cell(cell) for cell in row) for row in rows)
    return Table(caption, tuple(heads.split("|")), cells, frozenset(figures), widths)


def _outcome(check: CheckRun) -> Cell:
    words = f"{check.outcome} × {check.times}" if check.times > 1 else check.outcome.value
    return Cell(words, tone_of(check.outcome), ("advisory",) if check.advisory else ())


def checks(facts: ReleaseFacts) -> list[tuple[str, Table]]:
    """Return a table of checks for each phase, those with a failure first."""
    found = []
    for phase in dict.fromkeys(check.phase for check in facts.checks):
        runs = [check for check in facts.checks if check.phase == phase]
        worst: dict[str, int] = {}
        for check in runs:
            worst[check.name] = min(_WORST[check.outcome], worst.get(check.name, 9))
        rows = [
            (
                _outcome(check),
                Cell(check.name, below=(check.kind,)),
                Cell(check.seen, below=(f"→ {check.help}",) if check.help and check.outcome != "passed" else ()),
                duration(check.took),
                Cell(stamp(check.at), below=(f"since {stamp(check.first)}",) if check.times > 1 else ()),
                "\n".join(check.covers) or "–",
            )
            for check in sorted(runs, key=lambda check: worst[check.name])
        ]
        heads = "Outcome|Check|What was seen|Took|When (UTC)|Covers"
        found.append((check_phase(phase), table(f"Checks of {phase}", heads, rows, [3], (12, 20, 36, 8, 15, 9))))
    return found


def rows_of_checks(facts: ReleaseFacts) -> list[dict[str, str]]:
    """Return all looks of checks as rows of one table, those that did not pass first."""
    return [
        {
            "Outcome": f"{SYMBOL[one.outcome]} {_outcome(one).text}" + (" (advisory)" if one.advisory else ""),
            "Phase": check_phase(one.phase),
            "Check": one.name,
            "Seen": one.seen,
            "Took": duration(one.took),
            "When (UTC)": stamp(one.at),
        }
        for one in sorted(facts.checks, key=lambda one: _WORST[one.outcome])
    ]


def tally(facts: ReleaseFacts) -> str:
    """Return in a line how the looks of all checks came out."""
    times = {outcome: sum(c.times for c in facts.checks if c.outcome is outcome) for outcome in Outcome}
    names = {(check.phase, check.name) for check in facts.checks}
    parts = ", ".join(f"{count(number)} {outcome}" for outcome, number in times.items())
    return f"{counted(len(names), 'check')}, {counted(sum(times.values()), 'look')}: {parts}."


def checklist(facts: ReleaseFacts) -> list[tuple[str, Table]]:
    """Return the checklist filled in, a table for each phase, failures first."""
    heads = "Stands|Row|What is asked|What was seen|When (UTC)"
    found = []
    for phase, rows in by_phase(facts.checklist):
        cells = [
            (
                Cell(row.standing, tone_of(row.standing)),
                Cell(row.id, code=True),
                Cell(row.item, below=(row.section, *([f"Note: {row.note}"] if row.note else []))),
                Cell(_seen_first(row), below=_seen_besides(row)),
                stamp(row.at) if row.at else "–",
            )
            for row in sorted(rows, key=lambda row: WORST_FIRST.index(row.standing))
        ]
        found.append((phase, table(f"Checklist: {phase}", heads, cells, (), (14, 9, 35, 31, 11))))
    return found


def _seen_first(row: Filled) -> str:
    if row.because:
        return f"because {row.because}"
    return _cut(row.entries[0].found) if row.entries else "nothing covers this row"


def _cut(found: Found) -> str:
    """Return what was seen, of what went well no more than a line or two, since the checks' own tables have it all."""
    most = 120 if found.standing in (Standing.PASSED, Standing.SIGNED) else 600
    return found.seen if len(found.seen) <= most else f"{found.seen[: most - 1]}…"


def _seen_besides(row: Filled) -> tuple[str, ...]:
    if not row.entries:
        return ()
    return (row.entries[0].who, *(f"{one.who}: {_cut(one.found)}" for one in row.entries[1:]))


def locks(facts: ReleaseFacts) -> Table:
    """Return each table and mode with what it was held for in rehearsal and on production, the longest first."""
    held = {(lock.relation, lock.mode, lock.where): lock.held for lock in facts.locks}
    pairs = dict.fromkeys((lock.relation, lock.mode) for lock in sorted(facts.locks, key=lambda lock: -lock.held))
    rows: list[tuple[Cell | str, ...]] = [
        (
            Cell(relation, code=True),
            mode,
            blocks(mode).value,
            *(duration(held.get((relation, mode, where))) for where in PLACES),
        )
        for relation, mode in pairs
    ]
    return table("Locks that the migration held", "Table|Mode|Blocks|In rehearsal|On production", rows, [3, 4])


def comparisons(facts: ReleaseFacts) -> Table:
    """Return the percentiles before and now."""
    rows: list[tuple[Cell | str, ...]] = []
    for one in facts.comparisons:
        grown = change(one.was.p50, one.has.p50)
        source = Cell("now", below=(one.source,) if one.source else ())
        rows.append((one.check, "before", count(len(one.before)), *map(duration, _percentiles(one.was)), "–"))
        rows.append((one.check, source, count(len(one.now)), *map(duration, _percentiles(one.has)), grown))
    heads = "Check|When|Answers|p50|p95|p99|Median changed by"
    return table("Answer times before and now", heads, rows, range(2, 7))


def _percentiles(summary: Any) -> tuple[float, float, float]:
    return summary.p50, summary.p95, summary.p99


def moved(facts: ReleaseFacts) -> Table:
    """Return what moved most against before, the farthest first."""
    rows = [
        (one.of.value, Cell(one.name), f"{one.factor:.1f}×" if math.isfinite(one.factor) else "new", one.seen)
        for one in facts.moved
    ]
    return table("Moved most against before", "What|Which|By|Seen", rows, [2], (10, 46, 9, 35))


def outages(facts: ReleaseFacts) -> Table:
    """Return the outages."""
    rows = [
        (
            stamp(one.began),
            stamp(one.ended) if one.ended else Cell("not seen to end", Tone.BAD),
            one.check,
            one.lasted,
            count(one.probes),
        )
        for one in facts.probing.outages
    ]
    return table(
        "Outages: three or more failed probes running", "From (UTC)|To (UTC)|Check|Lasted|Failed probes", rows, [3, 4]
    )


def looks(facts: ReleaseFacts) -> Table:
    """Return the judgements with their findings."""
    rows = [
        (
            Cell(f"{one.outcome} × {one.times}" if one.times > 1 else one.outcome, tone_of(one.outcome)),
            one.source,
            Cell(stamp(one.at), below=(f"since {stamp(one.first)}",) if one.times > 1 else ()),
            Cell("" if one.findings else NO_DATA, below=tuple(f"{name}: {said}" for name, said in one.findings)),
        )
        for one in facts.looks
    ]
    return table("Judgements of the watch", "Outcome|By|When (UTC)|Findings of the last", rows, (), (14, 10, 20, 56))


def backup(facts: ReleaseFacts) -> Table:
    """Return the tables that were compared."""
    tables = facts.backup.tables if facts.backup else ()
    rows = [(Cell(name, code=True), count(rows), Cell(hashed or NO_DATA, code=True)) for name, rows, hashed in tables]
    return table("Tables compared between the source and the restored copy", "Table|Rows|Content hash", rows, [1])


def backup_line(facts: ReleaseFacts) -> str:
    """Return the proof of the backup in short; the checksum of its manifest is told beside it."""
    proof = facts.backup
    if proof is None:
        return f"{NO_DATA}: no proven backup of this release is on record"
    return ", ".join(
        (
            counted(len(proof.tables), "table") if proof.tables else "no table compared",
            f"{count(proof.rows)} rows",
            show_bytes(proof.bytes),
        )
    )


def evidence(detail: Mapping[str, Any]) -> tuple[str, ...]:
    """Return evidence as lines; locks are told by their number, since they have a table of their own."""
    lines = []
    for key, value in detail.items():
        name = key.removesuffix("_seconds").replace("_", " ")
        if key == "locks" and isinstance(value, list):
            lines.append(f"locks: {len(value)}, listed above")
        elif isinstance(value, Mapping):
            lines.append(f"{name}: {'; '.join(evidence(value)) or 'none'}")
        else:
            lines.append(f"{name}: {figure(key, value)}")
    return tuple(lines)


def steps(facts: ReleaseFacts) -> Table:
    """Return the steps with their evidence."""
    rows = []
    for step in facts.steps:
        marks = ("changes production",) if step.mutates else ()
        rows.append(
            (
                _EVENTS.get(step.event, Cell(step.event, Tone.WARN)),
                Cell(step.name, below=(f"{step.phase}, epoch {step.epoch}", *marks)),
                stamp(step.began),
                duration(step.took),
                Cell("" if step.detail else "–", below=evidence(step.detail)),
            )
        )
    return table("Steps", "End|Step|Began (UTC)|Took|Evidence", rows, [3], (15, 25, 19, 9, 32))


def rehearsal(facts: ReleaseFacts) -> Table:
    """Return what the rehearsal put on record."""
    detail = facts.rehearsal.detail if facts.rehearsal else {}
    told_here = {key: value for key, value in detail.items() if key not in _TOLD_ELSEWHERE}
    lines = [line.partition(": ") for line in evidence(told_here)]
    rows = [(what, seen) for what, _, seen in lines]
    return table("What the rehearsal put on record", "What|Seen", rows, (), (18, 82))


def messages(facts: ReleaseFacts) -> Table:
    """Return the messages as they were written."""
    return table(
        "Messages",
        "When (UTC)|Kind|Text",
        [
            (stamp(one.at), one.kind, f"{one.text} (not delivered: {one.lost})" if one.lost else one.text)
            for one in facts.messages
        ],
        (),
        (19, 9, 72),
    )


def decisions(facts: ReleaseFacts) -> Table:
    """Return what was decided, by whom."""
    rows = [
        (stamp(one.at), one.what, Cell(one.by, below=(f"epoch {one.epoch}",) if one.epoch else ()), one.note or "–")
        for one in facts.decisions
    ]
    return table("Decisions", "When (UTC)|What|By|Why", rows, (), (19, 25, 22, 34))


def signatures(facts: ReleaseFacts) -> Table:
    """Return who signed for what."""
    rows = [
        (
            Cell(
                {"approve": "approved", "reject": "rejected", "waive": "waived"}.get(one.decision, one.decision),
                tone_of(one.decision),
            ),
            Cell(one.person, below=(f"{one.role}, gate {one.gate}{f', by {one.via}' if one.via else ''}",)),
            stamp(one.at),
            one.reason or "–",
            Cell(one.plan_hash, code=True),
        )
        for one in facts.signatures
    ]
    return table("Signatures", "Decision|Person|When (UTC)|Reason|Plan hash", rows, (), (13, 17, 19, 23, 28))


def error_share(facts: ReleaseFacts) -> tuple[str, str]:
    """Return the share of failed probes, and the bound that it surely does not exceed."""
    probing = facts.probing
    if not probing.counted:
        return NO_DATA, "no probe"
    return percent(probing.failed / probing.counted), f"at most {percent(probing.at_most)} with 95% confidence"
