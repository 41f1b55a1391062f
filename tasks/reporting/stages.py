"""What a report tells of the stages of a watch: the verdict on each, and the status reports of the later ones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tasks.domain.release import State
from tasks.domain.statistics import summarise
from tasks.ledger import models
from tasks.reporting.sections import Cell, Table, table
from tasks.reporting.values import ReleaseFacts, StageRun, Status
from tasks.reporting.words import NO_DATA, change, duration, percent, stamp, tone_of

_ROLLED_BACK_IN = {State.WATCHING.value: "the first", State.STABLE.value: "a later one"}
_VERDICTS = ("verdict", "stage", "review ended")


def stages_of(rows: Iterable[models.Look], moves: Iterable[models.Move]) -> tuple[StageRun, ...]:
    """Return the verdicts on the stages, in order; each extension of the first one is told too."""
    found = []
    for row in rows:
        said: Mapping[str, Any] = row.findings
        if row.source in _VERDICTS and (row.source != "verdict" or "ended" in said):
            name = str(said.get("stage", "the later stages"))
            seen = str(said.get("seen") or said.get("why") or "")
            found.append(StageRun(name, str(said.get("ended", "ended")), seen, row.at, bool(said.get("final"))))
    found += [
        StageRun(_ROLLED_BACK_IN[move.before], "rolled back", move.note, move.at, final=True)
        for move in moves
        if move.after == State.ROLLING_BACK and move.before in _ROLLED_BACK_IN
    ]
    return tuple(sorted(found, key=lambda one: one.at))


def statuses_of(rows: Iterable[models.Look]) -> tuple[Status, ...]:
    """Return what was seen by each look of the later stages, in order."""
    return tuple(_status(row) for row in rows if row.source == "review")


def _status(row: models.Look) -> Status:
    said: Mapping[str, Any] = row.findings
    burst = said.get("burst") or {}
    return Status(
        stage=str(said.get("stage", "")),
        number=int(said.get("look", 0)),
        of=int(said.get("of", 0)),
        missed=int(said.get("missed", 0)),
        at=row.at,
        outcome=row.outcome,
        checks=tuple(sorted(said.get("checks", {}).items())),
        failed=int(burst.get("failed", 0)),
        made=int(burst.get("made", 0)),
        latencies=tuple(burst.get("latencies", ())),
        before=burst.get("before"),
    )


def stages(facts: ReleaseFacts) -> Table:
    """Return the stages that are over, with the verdict on each and the numbers that it rests on."""
    rows = [(Cell(one.verdict, tone_of(one.verdict)), one.name, stamp(one.at), one.seen) for one in facts.stages]
    return table("Stages of the watch", "Verdict|Stage|When (UTC)|Why", rows, (), (14, 22, 20, 44))


def statuses(facts: ReleaseFacts) -> Table:
    """Return the status reports, the newest first."""
    rows = [_row(one) for one in reversed(facts.statuses)]
    heads = "Outcome|Look|When (UTC)|Checks|Failed probes|Median|Against before"
    return table("Status reports", heads, rows, [4, 5, 6], (12, 20, 15, 23, 10, 10, 10))


def _row(one: Status) -> tuple[Cell | str, ...]:
    bad = tuple(f"{name}: {outcome}" for name, outcome in one.checks if outcome != "passed")
    median = summarise(one.latencies).p50 if one.latencies else None
    missed = (f"{one.missed} before it missed",) if one.missed else ()
    return (
        Cell(one.outcome, tone_of(one.outcome)),
        Cell(f"{one.number} of {one.of}", below=(one.stage, *missed)),
        stamp(one.at),
        Cell(f"{len(one.checks) - len(bad)} of {len(one.checks)} passed", below=bad),
        percent(one.failed / one.made) if one.made else NO_DATA,
        duration(median),
        change(one.before, median) if one.before and median else NO_DATA,
    )
