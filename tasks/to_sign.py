"""What people are shown who are to sign: what the evidence comes to, and the hash that their signature is for."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

from tasks.context import Context
from tasks.domain.gates import CONTROLS, GO, LIVE, STABLE
from tasks.domain.units import show_seconds
from tasks.reporting.cards import cards
from tasks.reporting.facts import gather
from tasks.reporting.sections import tally


def plan_hash(ctx: Context) -> str:
    """Return the hash of what a signature for the gate "go" holds for: release file, code, migration, way back."""
    rehearsal = ctx.ledger.evidence.rehearsal(ctx.release.id)
    parts = [
        ctx.release.file_text,
        ctx.release.identity,
        rehearsal.fingerprint if rehearsal else "",
        rehearsal.plan if rehearsal else "",
    ]
    return _hash(parts)


def evidence_hash(ctx: Context) -> str:
    """Return the hash of all that is on record of a release by now, beginning with its plan."""
    book, of = ctx.ledger, ctx.release.id
    steps = [(one.id, one.phase, one.name, one.event, one.took) for one in book.releases.steps(of)]
    seen = [(one.id, one.phase, one.name, one.outcome, one.seen) for one in book.evidence.measurements(of)]
    looks = [(one.id, one.source, one.outcome, one.findings) for one in book.evidence.looks(of)]
    return _hash([plan_hash(ctx), steps, seen, looks])


def _hash(parts: Sequence[Any]) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def way_back(ctx: Context) -> str:
    """Return the way back that the rehearsal has proven, in words."""
    rehearsal = ctx.ledger.evidence.rehearsal(ctx.release.id)
    return f"{rehearsal.plan} ({rehearsal.detail['why']})" if rehearsal else "none was rehearsed"


def figures(ctx: Context, gate: str) -> list[tuple[str, str]]:
    """Return what the evidence comes to that people sign for at a gate."""
    row, found = ctx.release, [("way back", way_back(ctx))]
    rehearsal = ctx.ledger.evidence.rehearsal(row.id)
    # Where the schema stays there is nothing in it to undo, and so nothing that takes time.
    if gate == GO and rehearsal is not None and (took := rehearsal.detail.get("seconds")):
        found.append(("way back takes", show_seconds(float(took))))
    if gate == GO:
        found += _told_at_go(ctx)
    if gate in (LIVE, STABLE, CONTROLS):
        row = ctx.ledger.releases.get(row.id)
        found.append(("watched until", f"{row.watch_until:%Y-%m-%d %H:%M} UTC" if row.watch_until else "–"))
        looks = ctx.ledger.evidence.looks(row.id, "monitor")
        found.append(("last look", looks[-1].outcome if looks else "none yet"))
    return found


def _told_at_go(ctx: Context) -> list[tuple[str, str]]:
    """Return what the evidence comes to that people sign for: backup, migration, locks and checks."""
    facts = gather(ctx.ledger, ctx.release.id)
    database, _record, _service = cards(facts)
    lines = [(one.name.lower(), "; ".join(filter(None, (one.value, one.note)))) for one in database.lines]
    return [*lines, ("checks", tally(facts))]
