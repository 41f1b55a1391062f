"""What a preview of checks saw, as values for ``--json`` and as tables for people."""

from __future__ import annotations

from collections import Counter
from itertools import groupby
from typing import Any

from rich.table import Table
from rich.text import Text

from deployments.output import plain_table
from tasks.domain.outcome import Outcome
from tasks.domain.units import show_seconds
from tasks.preview import Preview, Seen

_STYLES = {Outcome.PASSED: "green", Outcome.FAILED: "bold red", Outcome.UNKNOWN: "yellow"}


def as_json(of: Preview) -> dict[str, Any]:
    """Return what every check saw, what it all adds up to, and what was left out; ``seconds`` of each look."""
    return {
        "system": of.system,
        "version": of.version,
        "serving": of.serving or None,
        "compared_with": of.compared_with or None,
        "outcome": str(of.outcome),
        "checks": [_seen(one) for one in of.seen],
        "left_out": [
            {"name": one.check.name, "kind": one.check.kind, "phase": one.phase, "because": one.because}
            for one in of.left_out
        ],
    }


def _seen(one: Seen) -> dict[str, Any]:
    found = one.measurement
    reading = found.reading
    return {
        "name": found.check,
        "kind": found.kind,
        "phase": one.phase,
        "version": one.version,
        "outcome": str(found.outcome),
        "seen": reading.seen,
        "value": reading.value,
        "unit": reading.unit or None,
        "limit": reading.limit,
        "seconds": round(found.took, 3),
        "advisory": found.advisory,
        "covers": list(found.covers),
        "help": found.help or None,
    }


def tables(of: Preview) -> list[tuple[str, Table]]:
    """Return a table for each phase, with a title that names the version."""
    made = []
    for (phase, version), group in groupby(of.seen, key=lambda one: (one.phase, one.version)):
        table = _table("check", "outcome", "what was seen", "took", "rows")
        for one in group:
            found = one.measurement
            seen = Text(found.reading.seen)
            if found.help and found.outcome is not Outcome.PASSED:
                seen.append(f"\n{found.help}", style="dim")
            table.add_row(
                Text(found.check),
                Text(found.outcome + (", advisory" if found.advisory else ""), style=_STYLES[found.outcome]),
                seen,
                Text(show_seconds(found.took)),
                Text(" ".join(found.covers) or "–", style="dim"),
            )
        made.append((f"{phase}, of {version}", table))
    return made


def left_out_table(of: Preview) -> Table:
    """Return what was left out, each with why."""
    table = _table("left out", "phase", "because it")
    for one in of.left_out:
        table.add_row(Text(one.check.name), Text(one.phase), Text(one.because))
    return table


def summary(of: Preview) -> str:
    """Return how many checks came out how, in a line."""
    counted = Counter(one.measurement.outcome for one in of.seen)
    told = ", ".join(f"{counted[outcome]} {outcome}" for outcome in Outcome if counted[outcome])
    left_out = f"; {len(of.left_out)} left out" if of.left_out else ""
    return f"{of.system} {of.version}: {told or 'nothing was checked'}{left_out}"


def _table(*columns: str) -> Table:
    return plain_table(columns, {"outcome", "took", "phase"})
