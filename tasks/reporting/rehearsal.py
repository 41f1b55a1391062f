"""What the rehearsal measured, beside its limits and what production then took, as a DBA reads it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tasks.domain.locks import blocks, holds_up
from tasks.domain.units import show_bytes
from tasks.reporting.deriving import first_number, number
from tasks.reporting.sections import Cell, Table, table
from tasks.reporting.values import Lock, ReleaseFacts, Tone
from tasks.reporting.words import NO_DATA, count, duration, percent, tone_of


def takes(facts: ReleaseFacts) -> Table:
    """Return what the migration takes in each place, beside its limit."""
    plain, load = _part(facts, "upgrade"), _part(_under_load(facts), "upgrade")
    if not plain:
        return table("What the migration takes", "Measure|In rehearsal|Under load|On production|Limit", [])
    limits = _part(facts, "limits")
    rows: list[tuple[Cell | str, ...]] = [
        (
            "Duration",
            duration(first_number(plain, "took")),
            duration(first_number(load, "took")) if load else "–",
            duration(facts.migration),
            duration(first_number(limits, "duration")),
        ),
        (
            "Longest hold-up",
            _longest(plain),
            _longest(load) if load else "–",
            _in_production(facts) if facts.migration else NO_DATA,
            duration(first_number(limits, "lock")),
        ),
        *(_grown(what, _part(facts, "growth"), _part(_under_load(facts), "growth")) for what in ("wal", "database")),
    ]
    return table("What the migration takes", "Measure|In rehearsal|Under load|On production|Limit", rows)


def _grown(what: str, plain: Mapping[str, Any], load: Mapping[str, Any]) -> tuple[Cell | str, ...]:
    show = _log if what == "wal" else _size
    name = "Write-ahead log" if what == "wal" else "Database on disk"
    return name, show(plain), show(load) if load else "–", "–", "–"


def _log(growth: Mapping[str, Any]) -> Cell:
    written = first_number(growth, "wal")
    notes = []
    if growth.get("server_shared"):
        notes.append("at most: others write to that server too")
    if growth.get("full_page_writes") is False:
        notes.append("without full pages, which production may add")
    return Cell(show_bytes(written), below=tuple(notes)) if written is not None else Cell(NO_DATA)


def _size(growth: Mapping[str, Any]) -> Cell:
    before, after = (first_number(_part(growth, "database"), when) for when in ("before", "after"))
    if before is None or after is None:
        return Cell(NO_DATA)
    return Cell(_signed(after - before), below=(f"{show_bytes(before)} → {show_bytes(after)}",))


def _signed(grown: float) -> str:
    return f"{'+' if grown >= 0 else '−'}{show_bytes(abs(grown))}"


def _longest(run: Mapping[str, Any]) -> Cell:
    locks = run.get("locks")
    rows = [one for one in locks if isinstance(one, Mapping)] if isinstance(locks, Sequence) else []
    held = [Lock(str(o.get("relation")), str(o.get("mode")), number(o.get("held")) or 0.0, "") for o in rows]
    return _hold_up(held, run)


def _in_production(facts: ReleaseFacts) -> Cell:
    runs = [step.detail for step in facts.steps if step.phase == "migrate" and "locks" in step.detail]
    return _hold_up([lock for lock in facts.locks if lock.where == "production"], runs[-1] if runs else {})


def _hold_up(locks: Sequence[Lock], run: Mapping[str, Any]) -> Cell:
    """Return the longest of the locks that an application may wait for, with what it blocks.

    That none was seen means nothing where the notes of the run say why none could be.
    """
    held = [lock for lock in locks if holds_up(lock.mode)]
    if not held:
        notes = run.get("notes")
        told = tuple(str(note) for note in notes) if isinstance(notes, Sequence) else ()
        return Cell(NO_DATA if told else "none", below=told)
    worst = max(held, key=lambda lock: lock.held)
    return Cell(duration(worst.held), below=(f"{worst.relation}: blocks {blocks(worst.mode)}",))


def tables_grown(facts: ReleaseFacts) -> Table:
    """Return the tables whose size changed, the largest change first."""
    changed = _part(_part(facts, "growth"), "tables")
    sizes = {name: (_bytes(one, "before"), _bytes(one, "after")) for name, one in changed.items()}
    rows = [
        (Cell(name, code=True), show_bytes(was), show_bytes(now), _signed(now - was))
        for name, (was, now) in sorted(sizes.items(), key=lambda item: -abs(item[1][1] - item[1][0]))
    ]
    return table("Tables whose size changed, with indexes and TOAST", "Table|Before|After|Growth", rows, [1, 2, 3])


def _bytes(one: Any, when: str) -> float:
    return first_number(one, when) or 0.0


def load(facts: ReleaseFacts) -> Table:
    """Return what statements took before the migration and while it ran."""
    found = _under_load(facts)
    heads = "When|Statements|p50|p99|Errors"
    if not _part(found, "during"):
        return table("Statements on the copy while it was migrated", heads, [])
    limits = _part(found, "limits")
    rows: list[tuple[Cell | str, ...]] = [
        _load_row("before", _part(found, "before"), ()),
        _load_row("during", _part(found, "during"), _limits(limits)),
    ]
    caption = f"Statements ({found.get('statements')}, {found.get('rate')} a second) on the copy while it was migrated"
    return table(caption, heads, rows, [1, 2, 3])


def _limits(limits: Mapping[str, Any]) -> tuple[str, str]:
    p99, errors = first_number(limits, "p99"), first_number(limits, "errors")
    return (
        f"limit {duration(p99)}" if p99 is not None else "no limit",
        f"limit {percent(errors)}" if errors is not None else "no limit",
    )


def _load_row(when: str, phase: Mapping[str, Any], limits: tuple[str, ...]) -> tuple[Cell | str, ...]:
    errors = {str(kind): int(number(many) or 0) for kind, many in _part(phase, "errors").items()}
    kinds = ", ".join(f"{kind} × {many}" for kind, many in errors.items())
    longest = f"longest {duration(first_number(phase, 'longest'))}"
    return (
        when,
        count(first_number(phase, "sent")),
        duration(first_number(phase, "p50")),
        Cell(duration(first_number(phase, "p99")), below=(longest, *limits[:1])),
        Cell(count(sum(errors.values())), below=tuple(filter(None, (kinds, *limits[1:])))),
    )


def review(facts: ReleaseFacts) -> Table:
    """Return what the review of the SQL found, what is refused first."""
    findings = _part(facts, "review").get("findings")
    those = [one for one in findings if isinstance(one, Mapping)] if isinstance(findings, Sequence) else []
    rows = [
        (
            Cell("refused", Tone.BAD) if one.get("refused") else "told",
            Cell(str(one.get("rule")), code=True),
            f"{one.get('file')}:{one.get('line')}",
            str(one.get("message")),
            str(one.get("safer") or "–"),
        )
        for one in sorted(those, key=lambda one: not one.get("refused"))
    ]
    return table("Findings in the migration's SQL", "Judged|Rule|Where|What|Safer form", rows, (), (10, 18, 16, 28, 28))


def reviewed(facts: ReleaseFacts) -> Cell:
    """Return how the review came out, in a line."""
    found = _part(facts, "review")
    if not found:
        return Cell(f"{NO_DATA}: no review of the SQL is on record", Tone.WARN)
    outcome = str(found.get("outcome"))
    findings = found.get("findings")
    many = len(findings) if isinstance(findings, Sequence) else 0
    return Cell(f"{outcome}: {many} findings" if many else f"{outcome}: {found.get('seen')}", tone_of(outcome))


def _under_load(facts: ReleaseFacts) -> Mapping[str, Any]:
    return _part(facts, "under_load")


def _part(of: ReleaseFacts | Mapping[str, Any], key: str) -> Mapping[str, Any]:
    detail = of if isinstance(of, Mapping) else of.rehearsal.detail if of.rehearsal else {}
    found = detail.get(key)
    return found if isinstance(found, Mapping) else {}
