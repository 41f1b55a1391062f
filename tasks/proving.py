"""A backup on record: how it is handled, and how it is proven once more by a copy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from tasks.backups import Backup, Place
from tasks.domain import archive
from tasks.domain.archive import Archive
from tasks.domain.errors import GoliveError
from tasks.domain.fingerprint import fingerprint, sequences
from tasks.domain.ports import World
from tasks.ledger.ledger import Ledger
from tasks.ledger.models import Backup as OnRecord
from tasks.settings import Settings
from tasks.spec import loading

SAFETY = "restore"
"""The scope of an operation whose backup is of a database that a restore replaced, and not the system's own."""


def newest_backup(book: Ledger, system: str) -> OnRecord | None:
    """Return the newest backup of a system's production, proven or not; what a restore put by does not count."""
    own = (one for one in book.evidence.backups(system) if book.releases.get(one.release_id).scope != SAFETY)
    return next(own, None)


def plan_of(book: Ledger, settings: Settings, one: OnRecord) -> Backup:
    """Return how a backup is handled: as its system's release file says now, or said then if it is of another kind."""
    try:
        now = loading.load(loading.find_release_file(settings.systems, one.system)).backup
    except GoliveError:
        now = None
    if now is not None and now.kind == one.kind:
        return now
    of = book.releases.get(one.release_id)
    return loading.parse(of.file_text, of.file).backup


def prove_again(world: World, one: OnRecord, plan: Backup, taken: Archive, place: Place) -> Mapping[str, Any]:
    """Make a copy of a backup in a scratch place, and hold all of it against the record of the first proof.

    Nothing of that depends on what production holds by now. Raises `BackupNotProven`, or what keeps a copy from being
    made.
    """
    verified = plan.verify(world, taken)
    began = world.clock.monotonic()
    copy = plan.copy_into(world, taken, place)
    took = world.clock.monotonic() - began
    tables = require_as_proven(world, one, taken, copy)
    rows = sum(table["rows"] for table in tables.values())
    return {"restore_seconds": took, "tables": len(tables), "rows": rows, "bytes": taken.size, **verified}


def require_as_proven(world: World, one: OnRecord, taken: Archive, dsn: str) -> Mapping[str, Mapping[str, Any]]:
    """Return what each table of a restored database holds; raises `BackupNotProven` unless that is what was proven."""
    # Unlogged tables are empty after a server's files were copied, and were left out of the first proof.
    left_out = set(taken.manifest.get("unlogged", ()))
    first: Mapping[str, Mapping[str, Any]] = one.proof.get("tables") or taken.tables
    with world.databases.session(dsn, read_only=True) as session:
        found, at = fingerprint(session, first), sequences(session)
    held, now = ({name: table for name, table in of.items() if name not in left_out} for of in (first, found))
    archive.require_equal(replace(taken, manifest={**taken.manifest, "tables": held}), now)
    archive.require_sequences(taken, at)
    return now
