"""How much room a backup, its copies and its restore need on each disk of golive's machine."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tasks.backups import Backup
from tasks.context import Context, place_of
from tasks.domain.ports import World
from tasks.domain.room import by_disk, require_room
from tasks.keeping import backups_directory
from tasks.scratch import OWN, Scratch
from tasks.settings import Settings
from tasks.spec.release_file import ReleaseFile


def room_needed(world: World, file: ReleaseFile, settings: Settings, dsn: str) -> dict[Path, int]:
    """Return the bytes that a backup and its copies may need on each disk of golive's machine, by a path on it.

    The disk of a server elsewhere is not golive's to see, so what copies take there is left out.
    """
    room, backups = file.backup.room(world, dsn), place_of(file, settings, file.backup.directory)
    copies = _place_of_copies(world, file, settings, backups)
    return by_disk([(backups, room.backup), *([(copies, room.copies)] if copies else [])])


def require_room_back(ctx: Context, kind: Backup, manifest: Mapping[str, Any], dsn: str) -> Mapping[str, Any]:
    """Return what it takes on each disk of golive's machine to restore a backup beside a database.

    Raises `DiskTooSmall` where one has too little. Of a disk that is not golive's to see, and of a backup whose
    manifest does not tell how large its database was, nothing is known.
    """
    size = manifest.get("database_bytes")
    if size is None:
        return {}
    data = _data_directory(ctx.world, dsn)
    needs = [(data, size)] if data else []
    if kind.copies_files:
        # All of the server runs in the scratch place, and the database is dumped from there.
        needs += [(Scratch(ctx).directory, manifest["server_bytes"]), (backups_directory(ctx), size)]
    room = ctx.file.backup.headroom
    return {str(path): require_room(ctx.world, path, needed, room) for path, needed in by_disk(needs).items()}


def _place_of_copies(world: World, file: ReleaseFile, settings: Settings, backups: Path) -> Path | None:
    plan = file.database.scratch
    if plan.place == "embedded":
        return place_of(file, settings, plan.directory)
    server = world.secrets.resolve(plan.dsn or file.database.dsn)
    # One whose directory is not told may well lie where the backups do.
    return (_data_directory(world, server) or backups) if _is_own(world, server) else None


def _data_directory(world: World, dsn: str) -> Path | None:
    """Return where a server of golive's own machine keeps its data, or None."""
    if not _is_own(world, dsn):
        return None
    with world.databases.session(world.databases.with_database(dsn, "postgres"), read_only=True) as session:
        data = session.value("SELECT setting FROM pg_settings WHERE name = 'data_directory'")
    # Not every role is told, and behind a forwarded port it is a directory of another machine.
    return Path(data) if data and world.host.exists(Path(data)) else None


def _is_own(world: World, dsn: str) -> bool:
    address, _port = world.databases.address_of(dsn)
    return address in OWN or address.startswith("/")
