"""What golive put into each slot, on record on the machine where it runs, and how a start is seen to have succeeded."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tasks.domain.errors import UserError
from tasks.domain.ports import Clock, Host
from tasks.platforms import Running

STEADY = 1.0
"""Seconds that processes must have run without an end before their start counts as one."""

_PLAIN = re.compile(r"/[\w./@+,=~ -]*")  # what neither an ini format nor a glob takes for anything else


class Slots:
    """The records of what runs in each slot, below a platform's directory."""

    def __init__(self, host: Host, home: Path) -> None:
        self._host, self._directory = host, home / "slots"

    def read(self, slot: str) -> dict[str, Any]:
        """Return what is on record of a slot; nothing if golive put nothing there."""
        known: dict[str, Any] = json.loads(self._host.read(self._path(slot)) or "{}")
        return known

    def write(self, slot: str, record: Mapping[str, Any]) -> None:
        """Put on record what is in a slot, in one step."""
        self._host.write(self._path(slot), json.dumps(record))

    def forget(self, slot: str) -> None:
        """Remove a slot's record."""
        self._host.remove_tree(self._path(slot))

    def _path(self, slot: str) -> Path:
        return self._directory / f"{slot}.json"


def digest(files: Mapping[Path, str]) -> str:
    """Return what tells a set of files with their texts from any other."""
    return hashlib.sha256(json.dumps(sorted((str(path), text) for path, text in files.items())).encode()).hexdigest()


def plain_path(text: str, what: str) -> Path:
    """Return an absolute path that a configuration file can hold; raises `UserError` for any other."""
    path = Path(text)
    if not _PLAIN.fullmatch(str(path)):
        raise UserError(f"{path} cannot be {what}", expected="an absolute path of plain characters")
    return path


def stays_up(clock: Clock, look: Callable[[], tuple[Running, object]], within: float) -> bool:
    """Tell whether what was started comes up in time and then runs on, as the same processes, for `STEADY`.

    ``look`` returns how it is, and what tells these processes from those that would run after an end.
    """
    until = clock.monotonic() + within
    since: float | None = None
    first: object = None
    while True:
        (running, mark), now = look(), clock.monotonic()
        if since is None:
            if running is Running.DOWN or (running is not Running.UP and now > until):
                return False
            if running is Running.UP:
                since, first = now, mark
        elif running is not Running.UP or mark != first:
            return False
        elif now - since >= STEADY:
            return True
        clock.sleep(0.2)
