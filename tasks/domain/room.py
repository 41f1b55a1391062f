"""How much room a backup and its copies need, and whether the disks that they come to lie on have it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.domain.errors import DiskTooSmall
from tasks.domain.ports import World
from tasks.domain.units import show_bytes


@dataclass(frozen=True)
class Room:
    """Bytes: ``backup`` where the backup is made, ``copies`` where it is restored and cloned for the rehearsal."""

    backup: int
    copies: int


def by_disk(needs: Iterable[tuple[Path, int]]) -> dict[Path, int]:
    """Return what is needed on each disk, by the first path that lies, or will lie, on it."""
    first: dict[object, Path] = {}
    needed: dict[Path, int] = {}
    for path, size in needs:
        at = first.setdefault(_disk_of(path), path)
        needed[at] = needed.get(at, 0) + size
    return needed


def require_room(world: World, where: Path, needed: int, headroom: int) -> Mapping[str, Any]:
    """Return what was reckoned; raises `DiskTooSmall` unless ``needed`` and ``headroom`` bytes fit at ``where``."""
    free = world.host.disk_free(where)
    if free < needed + headroom:
        raise DiskTooSmall(
            f"{show_bytes(free)} free",
            expected=f"{show_bytes(needed)} for the work and {show_bytes(headroom)} to spare",
            where=str(where),
            do="make room, or name another directory in the release file",
        )
    return {"free": free, "needed": needed, "headroom": headroom}


def _disk_of(path: Path) -> object:
    nearest = path.absolute()
    try:
        while not nearest.exists():
            nearest = nearest.parent
        return nearest.stat().st_dev
    except OSError:  # whoever looks how much is free there says what stands in the way
        return path
