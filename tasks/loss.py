"""What a rollback would lose now, counted by the way back that the rehearsal has proven."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tasks.context import Context
from tasks.domain import dropping
from tasks.domain.errors import BackupNotProven, OutsideError, UserError
from tasks.domain.fingerprint import change_counters
from tasks.domain.way_back import Loss, WayBack, rows_changed
from tasks.keeping import manifest_of
from tasks.ledger.models import Backup

_WITHIN = 10.0
"""Seconds that a count in production may take; it is made again and again while a release is watched."""


def drop_of(row: Mapping[str, Any]) -> dropping.Drop:
    """Return a column or table that a downgrade drops, as the rehearsal put it on record."""
    return dropping.Drop(row["table"], row["column"], row["type"], row["default"])


def counters_at(ctx: Context, backup: Backup) -> Mapping[str, int]:
    """Return the tables' counters as they were when the backup was taken; none if its manifest is not at hand.

    They are kept with the rehearsal, so that a look in the watch need not read the backup, which may lie elsewhere.
    """
    try:
        counters: Mapping[str, int] = manifest_of(ctx, backup).get("counters", {})
    except (BackupNotProven, OutsideError, UserError):
        return {}
    return counters


def loss_now(ctx: Context) -> Loss | None:
    """Return what a rollback of the release would lose at this moment, or None if none was rehearsed.

    What cannot be counted, or not in time, is a loss of unknown size.
    """
    rehearsal = ctx.ledger.evidence.rehearsal(ctx.release.id)
    if rehearsal is None:
        return None
    way = WayBack(rehearsal.plan)
    if way is WayBack.KEEP:
        return Loss(way, 0, "would lose nothing: the schema stays")
    try:
        if way is WayBack.DOWNGRADE:
            return _dropped(ctx, [drop_of(one) for one in rehearsal.detail["downgrade"].get("drops", [])])
        return _changed(ctx, rehearsal.detail.get("counters", {}))
    except OutsideError as error:
        why = ctx.world.secrets.mask(str(error))
        return Loss(way, None, f"would lose an unknown number of rows: {why}")


def _dropped(ctx: Context, what: Sequence[dropping.Drop]) -> Loss:
    if not what:
        return Loss(WayBack.DOWNGRADE, 0, "would drop no column and no table")
    with ctx.world.databases.session(ctx.target().dsn, read_only=True, statement_timeout=_WITHIN) as session:
        counts = dropping.count(session, what)
    return Loss(WayBack.DOWNGRADE, sum(counts.values()), f"would drop {dropping.told(counts)}")


def _changed(ctx: Context, before: Mapping[str, int]) -> Loss:
    with ctx.world.databases.session(ctx.target().dsn, read_only=True, statement_timeout=_WITHIN) as session:
        lost = rows_changed(before, change_counters(session))
    number = "an unknown number of" if lost is None else str(lost)
    return Loss(WayBack.RESTORE, lost, f"would lose {number} changed row{'' if lost == 1 else 's'}")
