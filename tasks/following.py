"""What a person who follows a release is shown: where it stands, its probes and looks, how near its triggers are."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from tasks import watching
from tasks.domain.outcome import Outcome
from tasks.domain.release import FORWARD, MUTATING, TERMINAL, State
from tasks.domain.triggers import Corruption, Down, Errors, Finding, Probe, Slower, limit_of
from tasks.ledger.ledger import Ledger
from tasks.ledger.models import Release
from tasks.ledger.models import Step as Begun
from tasks.ledger.part import GUARD

SHOWN = 40
"""How many of the last probes are shown."""


def seen_of(book: Ledger, release_id: str) -> dict[str, Any]:
    """Return how a release stands now, in values that JSON can hold; times are ISO 8601 in UTC, spans in seconds."""
    row = book.releases.get(release_id)
    state, now = State(row.state), book.evidence.now()
    moves = book.releases.moves(release_id)
    shown: dict[str, Any] = {
        "id": row.id,
        "system": row.system,
        "version": row.version,
        "previous_version": row.previous_version,
        "now": now.isoformat(),
        "state": state.value,
        "since": (moves[-1].at if moves else row.created_at).isoformat(),
        "note": moves[-1].note if moves else "",
        "phase": [FORWARD.index(state), len(FORWARD) - 1] if state in FORWARD else None,
        "driven_by": row.holder or None,
        "ended": state in TERMINAL,
        "verdict": row.verdict,
        "steps": _steps(book.releases.steps(release_id), now),
        "touched_production": row.mutation_started_at is not None,
    }
    if state in MUTATING and row.mutation_started_at is not None:
        shown |= _under_watch(book, row, now)
    return shown


def _steps(rows: Sequence[Begun], now: datetime) -> dict[str, Any]:
    """Return what is being done, since how many seconds, and how many steps are done."""
    ended = {row.started for row in rows if row.started is not None}
    under_way = [row for row in rows if row.event == "started" and row.id not in ended]
    last = under_way[-1] if under_way else None
    return {
        "done": sum(row.event == "done" for row in rows),
        "failed": [f"{row.phase}: {row.name}" for row in rows if row.event == "failed"][-3:],
        "now": f"{last.phase}: {last.name}" if last else None,
        "for": (now - last.at).total_seconds() if last else None,
    }


def _under_watch(book: Ledger, row: Release, now: datetime) -> dict[str, Any]:
    watched = watching.observe(row)
    file, looks = watched.ctx.file, book.evidence.looks(row.id, "monitor")
    start = watching.since(watched, row, max(watching.window_of(watched), SHOWN * watched.interval), now)
    probes = watching.counting(book.evidence.probes(row.id, start))
    judged = {one.kind: one for one in watching.judge_probes(watched, probes, watching.as_of(probes, now))}
    looked = watching.findings_of(looks[-1] if looks else None)
    last = looks[-1].at if looks else row.live_at
    return {
        "probes": _probes(probes[-SHOWN:]),
        "looks": [{"at": one.at.isoformat(), "outcome": one.outcome} for one in looks[-3:]],
        "next_look": (last + timedelta(seconds=file.watch.every)).isoformat() if last and row.watch_until else None,
        "watch_until": row.watch_until.isoformat() if row.watch_until else None,
        "triggers": [_nearness(one, judged.get(one.kind) or looked.get(one.kind)) for one in file.rollback.when],
        "guard": bool((seen := book.leases.seen(GUARD)) and seen[2]),
    }


def _probes(probes: Sequence[Probe]) -> dict[str, Any]:
    signs = {Outcome.PASSED: "·", Outcome.FAILED: "x", Outcome.UNKNOWN: "?"}
    return {
        "row": "".join(signs[one.counted] for one in probes),
        "last_at": probes[-1].at.isoformat() if probes else None,
        "last_took": probes[-1].elapsed if probes else None,
    }


def _nearness(trigger: Down | Errors | Slower | Corruption, finding: Finding | None) -> dict[str, Any]:
    """Return what a trigger says, and how near it is to firing as a share of its limit, where that can be told."""
    told = {"kind": trigger.kind, "limit": limit_of(trigger), "state": "unknown", "seen": "nothing yet", "near": None}
    if finding is None:
        return told
    evidence, near = finding.evidence, None
    if isinstance(trigger, Down):
        near = min(1.0, float(evidence.get("seconds", 0.0)) / trigger.for_)
    elif isinstance(trigger, Errors) and evidence.get("total"):
        near = min(1.0, float(evidence["bound"]) / trigger.above)
    return {**told, "state": finding.state.value, "seen": finding.seen, "near": near}
