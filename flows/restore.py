"""Restore: a proven backup into any database, which is left as it was unless all of it went well."""

from __future__ import annotations

from typing import Annotated

from prefect import flow
from pydantic import Field

from flows.parameters import Help, Reason, StartedBy
from tasks.backup import compare_copy, keep_backup, reckon_disk, restore_copy, scratch_cleared, take_backup
from tasks.destination import PATTERN
from tasks.restoring import bring_back, inspect_destination, restoring

BackupId = Annotated[
    str, Field(pattern=r"^[1-9][0-9]{0,17}$"), Help("The number of the backup, as golive backups lists it.")
]
Destination = Annotated[
    str,
    Field(pattern=PATTERN),
    Help(
        "The database: a secret reference to its DSN (${env:NAME}, ${file:PATH}, ${block:NAME}) or a system's name. "
        "Never a DSN itself: parameters are stored in clear."
    ),
]
Replace = Annotated[
    bool, Help("Replace a database that is not empty; a proven safety backup of it is taken first, and it is kept.")
]


@flow(name="restore", flow_run_name="backup {backup} → {to}")
async def restore(
    backup: BackupId, to: Destination, replace: Replace = False, reason: Reason = "", started_by: StartedBy = ""
) -> str:
    """Restore a proven backup beside a database, compare it, exchange the two by name, and return what came of it."""
    number = int(backup)
    with restoring(number, to, started_by=started_by, reason=reason) as claim, scratch_cleared(claim):
        if inspect_destination(claim, number, replace=replace):
            reckon_disk(claim)
            safety = take_backup(claim)
            restore_copy(claim, safety)
            keep_backup(claim, safety, compare_copy(claim, safety))
        return bring_back(claim, number)
