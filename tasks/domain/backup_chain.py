"""Backups that hold only what changed since another: which may be built upon, and whether all of a chain is there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from tasks.domain import archive
from tasks.domain.archive import Archive
from tasks.domain.errors import BackupNotProven


def links(of: Archive) -> list[Mapping[str, str]]:
    """Return ``id`` and ``manifest_sha256`` of the backups that this one needs, the whole one first."""
    return list(of.manifest.get("chain", ()))


def parents(of: Archive) -> list[Archive]:
    """Return the backups that this one needs, the whole one first, with every file held against its manifest.

    They lie beside it. Raises `BackupNotProven` if one is missing, damaged, or another than it was.
    """
    found = []
    for link in links(of):
        directory = of.directory.with_name(link["id"])
        try:
            parent = archive.load(directory)
            if parent.digest != link["manifest_sha256"]:
                raise BackupNotProven("is not the backup that it was", where=str(directory))
        except BackupNotProven as error:
            raise BackupNotProven(
                f"a backup that this one builds upon cannot be used: {error.where or directory}: {error.seen}",
                expected=f"{link['id']} beside it, as it was when this one was taken",
                where=str(of.directory),
                do="use another backup; the next is taken whole again",
            ) from error
        found.append(parent)
    return found


def parent_for(
    proven: Sequence[Path], origin: Mapping[str, Any], *, kind: str, full_every: float, now: datetime
) -> tuple[Archive | None, str]:
    """Return the newest proven backup if the next may build upon it, or None and the reason why it may not.

    It must be whole and all that it needs too, of the same server and timeline, and its first younger than
    ``full_every`` seconds.
    """
    if not proven:
        return None, "there is no proven backup to build upon"
    try:
        newest = archive.load(proven[0])
        if newest.kind != kind:
            return None, f"the newest proven backup is of kind {newest.kind}"
        first = [*parents(newest), newest][0]
    except BackupNotProven as error:
        return None, f"{error.where}: {error.seen}"
    if newest.manifest.get("origin") != dict(origin):
        return None, f"{newest.directory.name} is of another server or timeline"
    if now - datetime.fromisoformat(first.manifest["finished_at"]) >= timedelta(seconds=full_every):
        return None, f"the last whole one, {first.directory.name}, is old enough for another"
    return newest, ""


def linked_to(parent: Archive) -> list[dict[str, str]]:
    """Return the links of a backup that builds upon ``parent``."""
    own = {"id": parent.directory.name, "manifest_sha256": parent.digest}
    return [*map(dict, links(parent)), own]
