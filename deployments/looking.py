"""What the ledger tells of releases and backups, as values for ``--json`` and as tables for people."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from rich.table import Table
from rich.text import Text

from deployments.output import plain_table
from tasks.domain.checklist import coverage, read_checklist, told
from tasks.domain.errors import NotFound, ReleaseFileError
from tasks.domain.outcome import Outcome
from tasks.domain.release import TERMINAL, State
from tasks.domain.units import show_bytes, show_seconds
from tasks.ledger.ledger import Ledger
from tasks.ledger.models import Backup, Look, Release
from tasks.ledger.part import GUARD
from tasks.reporting.deriving import loss_in
from tasks.reporting.stages import stages_of
from tasks.spec import loading
from tasks.spec.checklist import claims_of

STYLES = {
    State.STABLE: "green",
    State.DONE: "green",
    State.WATCHING: "cyan",
    State.STOPPED: "yellow",
    State.ROLLED_BACK: "yellow",
    State.AWAITING_GO: "bold magenta",
    State.ROLLING_BACK: "bold yellow",
    State.NEEDS_PERSON: "bold red",
}
"""How states are shown."""


def releases_of(book: Ledger, system: str | None, known: Iterable[str], limit: int) -> list[dict[str, Any]]:
    """Return the newest releases, of one system if that is named; raises `NotFound` for a name that says nothing."""
    rows = book.releases.latest(system, limit)
    if not rows and system is not None and system not in known:
        raise NotFound(
            f"{system!r} is neither a system nor the id of a release",
            expected=f"one of {', '.join(known) or 'no system yet'}, or an id",
            do="golive status lists the releases",
        )
    return [facts_of(book, row) for row in rows]


def facts_of(book: Ledger, row: Release) -> dict[str, Any]:
    """Return how a release stands; times are ISO 8601 in UTC."""
    moves = book.releases.moves(row.id)
    rehearsal = book.evidence.rehearsal(row.id)
    return {
        "id": row.id,
        "system": row.system,
        "version": row.version,
        "scope": row.scope,
        "state": row.state,
        "since": (moves[-1].at if moves else row.created_at).isoformat(),
        "note": moves[-1].note if moves else "",
        "started_by": row.started_by,
        "reason": row.reason,
        "previous_version": row.previous_version,
        "way_back": rehearsal.plan if rehearsal is not None else None,
        "touched_production": row.mutation_started_at is not None,
        "watch_until": row.watch_until.isoformat() if row.watch_until is not None else None,
        "verdict": row.verdict,
        "driven_by": row.holder or None,
        "ended": State(row.state) in TERMINAL,
    }


def details_of(book: Ledger, row: Release) -> dict[str, Any]:
    """Return how a release stands with its moves, its signatures and its way back in full."""
    rehearsal, moves = book.evidence.rehearsal(row.id), book.releases.moves(row.id)
    return {
        **facts_of(book, row),
        "way_back_why": rehearsal.detail.get("why") if rehearsal is not None else None,
        "checklist": coverage_of(row) or None,
        "rollback_now": loss_in(book.evidence.looks(row.id, "monitor")) or None,
        "stages": [
            {"stage": one.name, "verdict": one.verdict, "seen": one.seen, "at": one.at.isoformat()}
            for one in stages_of(book.evidence.looks(row.id), moves)
        ],
        "moves": [
            {"at": move.at.isoformat(), "before": move.before, "after": move.after, "note": move.note} for move in moves
        ],
        "signatures": [
            {
                "gate": one.gate,
                "role": one.role,
                "person": one.person,
                "decision": one.decision,
                "reason": one.reason,
                "plan_hash": one.plan_hash,
                "via": one.via,
                "at": one.at.isoformat(),
            }
            for one in book.evidence.signatures(row.id)
        ],
    }


def coverage_of(row: Release) -> str:
    """Return in a line how the checklist that is on record with a release was accounted for, if there is one."""
    if not row.checklist_text:
        return ""
    try:
        claims = claims_of(loading.parse(row.file_text, row.file))
        return told(coverage(read_checklist(row.checklist_text), claims))
    except ReleaseFileError as error:
        return f"cannot be read any more: {error}"


def health_of(book: Ledger) -> dict[str, Any]:
    """Return whether a guard is alive, and the messages that could not be delivered."""
    seen = book.leases.seen(GUARD)
    return {
        "guard": {"alive": False, "holder": None, "seen_at": None}
        if seen is None
        else {"alive": seen[2], "holder": seen[0], "seen_at": seen[1].isoformat()},
        "dead_letters": [
            {
                "release": message.release_id,
                "kind": message.kind,
                "notifier": delivery.notifier,
                "at": delivery.at.isoformat(),
                "error": delivery.error,
            }
            for message, delivery in book.outbox.dead_letters()
        ],
    }


def switches_of(book: Ledger, system: str | None = None) -> list[dict[str, Any]]:
    """Return the switches that are off, or of which it is not known because their turning did not end well."""
    last: dict[tuple[str, str], dict[str, Any]] = {}
    for row, step in book.releases.events_of("switch"):
        act, _, name = step.name.partition(" ")
        state = "unclear" if step.event != "done" else "off" if act == "disable" else "on"
        last[row.system, name] = {
            "system": row.system,
            "switch": name,
            "state": state,
            "version": row.version,
            "since": step.at.isoformat(),
            "by": row.started_by,
            "reason": row.reason,
            "operation": row.id,
        }
    return [one for one in last.values() if one["state"] != "on" and system in {None, one["system"]}]


def backups_of(book: Ledger, system: str | None) -> list[dict[str, Any]]:
    """Return the backups that are kept, of one system or of all, the newest first.

    ``bytes`` on disk, ``took`` and ``proof.restore_seconds`` in seconds; ``safety_copy`` tells one that a restore took
    of what it replaced; ``drill`` is the newest one; ``needed_by`` are the releases that have not ended and may go back
    to it.
    """
    drills = book.evidence.drills()
    return [_backup_facts(book, row, drills.get(row.id)) for row in book.evidence.backups(system)]


def _backup_facts(book: Ledger, row: Backup, drill: Look | None) -> dict[str, Any]:
    of = book.releases.get(row.release_id)
    tables = row.proof.get("tables", {})
    return {
        "id": row.id,
        "system": row.system,
        "release": row.release_id,
        "at": row.at.isoformat(),
        "kind": row.kind,
        "safety_copy": of.scope == "restore",
        "location": row.location,
        "encrypted": "encrypted" in row.proof,
        "bytes": row.bytes,
        "took": row.took,
        "proven": row.proven,
        "proof": {
            "tables": len(tables),
            "rows": sum(one["rows"] for one in tables.values()),
            "restore_seconds": row.proof.get("restore_seconds"),
            "manifest_sha256": row.proof.get("manifest_sha256"),
        },
        "drill": {"at": drill.at.isoformat(), "outcome": drill.outcome, "seen": drill.findings["seen"]}
        if drill is not None
        else None,
        "needed_by": [of.id] if of.ended_at is None else [],
    }


def releases_table(facts: Sequence[Mapping[str, Any]], now: datetime) -> Table:
    """Return releases as a table."""
    table = _table("release", "version", "what", "state", "since", "by", "way back")
    for one in facts:
        table.add_row(
            Text(one["id"]),
            Text(f"{one['previous_version'] or '–'} → {one['version']}"),
            Text(one["scope"]),
            Text(one["state"], style=STYLES.get(State(one["state"]), "")),
            Text(_ago(one["since"], now)),
            Text(one["started_by"]),
            Text(one["way_back"] or "–"),
        )
    return table


def details_table(one: Mapping[str, Any]) -> Table:
    """Return a release's moves as a table, with what was said at each."""
    table = _table("at", "to", "note")
    for move in one["moves"]:
        style = STYLES.get(State(move["after"]), "")
        table.add_row(Text(_moment(move["at"])), Text(move["after"], style=style), Text(move["note"]))
    return table


def backups_table(backups: Sequence[Mapping[str, Any]]) -> Table:
    """Return backups as a table."""
    table = _table("id", "system", "taken", "kind", "size", "took", "proven", "needed by", "location")
    for one in backups:
        table.add_row(
            Text(str(one["id"])),
            Text(one["system"]),
            Text(_moment(one["at"])),
            Text(one["kind"] + (", of a restore" if one["safety_copy"] else "")),
            Text(show_bytes(one["bytes"])),
            Text(show_seconds(one["took"])),
            _proven(one),
            Text(", ".join(one["needed_by"]) or "–"),
            Text(f"{one['location']}{' (encrypted)' if one['encrypted'] else ''}", overflow="fold"),
        )
    return table


def proof_of(one: Mapping[str, Any]) -> str:
    """Return by what a backup is proven, in words."""
    if not one["proven"]:
        return "no"
    proof = one["proof"]
    took = f" in {show_seconds(proof['restore_seconds'])}" if proof["restore_seconds"] is not None else ""
    return f"by restore{took}, {proof['tables']} tables and {proof['rows']} rows equal"


def _proven(one: Mapping[str, Any]) -> Text:
    drill = one["drill"]
    if not one["proven"] or drill is None:
        return Text("by restore" if one["proven"] else "no", style="green" if one["proven"] else "red")
    passed = drill["outcome"] == Outcome.PASSED
    words = "by drill" if passed else f"drill {drill['outcome']}"
    return Text(f"{words} of {_moment(drill['at'])[:10]}", style="green" if passed else "red")


def next_act(one: Mapping[str, Any], missing: Sequence[str]) -> str:
    """Return what a person may do about a release now, as commands; empty if nothing."""
    release_id, state = one["id"], State(one["state"])
    stop = f"golive stop {release_id} --by … --reason …"
    sign = [f"golive approve {release_id} --role {role}" for role in missing]
    if state is State.AWAITING_GO and missing:
        return "\n".join([*sign, stop])
    if state is State.NEEDS_PERSON:
        take = f"golive rollback {one['system']} --release {release_id} --reason …" if one["touched_production"] else ""
        return "\n".join(filter(None, [take, f"golive accept {release_id} --by … --reason …"]))
    if state is State.WATCHING:
        return "\n".join([*sign, f"golive rollback {one['system']} --release {release_id} --reason …"])
    if state is State.STABLE and missing:
        return "\n".join(sign)
    if state not in TERMINAL and one["driven_by"] is None:
        return f"golive resume {release_id}" + ("" if one["touched_production"] else f"\n{stop}")
    return ""


def _table(*columns: str) -> Table:
    return plain_table(columns, {"id", "release", "state", "since", "at", "taken", "proven"})


def _moment(iso: str) -> str:
    return f"{datetime.fromisoformat(iso).astimezone():%Y-%m-%d %H:%M:%S}"


def _ago(iso: str, now: datetime) -> str:
    at = datetime.fromisoformat(iso)
    return f"{at.astimezone():%m-%d %H:%M} ({show_seconds(max(0, round((now - at).total_seconds())))})"
