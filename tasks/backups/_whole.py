"""What kinds that copy a whole server's files do alike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from tasks.backups import Backup, Place
from tasks.domain import whole_server
from tasks.domain.archive import Archive
from tasks.domain.ports import World


class WholeServer(Backup):
    """A backup of all files of a server, proven by a server that runs on a copy of them."""

    copies_files: ClassVar[bool] = True

    def prove(self, world: World, archive: Archive, copy: str, production: str) -> Mapping[str, Any]:
        """Return the fingerprint of the copy, and which tables production's own counters saw written meanwhile.

        A table that was not written must be equal to production's.
        """
        verified = self.verify(world, archive)
        return {**whole_server.prove(world, archive, copy, production), **verified}

    def put_back(self, world: World, archive: Archive, dsn: str, place: Place) -> None:
        """Run a copy, dump the database from it, restore that with owners and grants, and compare it with the copy."""
        try:
            whole_server.put_back(world, archive, self.copy_into(world, archive, place), dsn, self.timeout)
        finally:
            place.remove()
