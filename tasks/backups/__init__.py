"""Backups: how production's data is kept, and proven by a copy of it. One file per kind, found by its file."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Protocol

from pydantic import ConfigDict, Field

from tasks.domain import archive
from tasks.domain.archive import Archive
from tasks.domain.database_locale import Locale
from tasks.domain.depth import look_into
from tasks.domain.kind import Duration, Kind, Size
from tasks.domain.ports import World
from tasks.domain.room import Room
from tasks.domain.storage import Encryption, Storage

DEFAULT = "dump"
"""The kind that is meant where a release file gives none."""


def _asks_for_kind(schema: dict[str, Any], model: type[Any]) -> None:
    """Let the JSON schema tell the kinds apart where none is given: only one of them goes without its name."""
    if model.model_fields["kind"].default != DEFAULT:
        schema["required"] = ["kind", *schema.get("required", ())]


class Place(Protocol):
    """Where the copy of a backup is made: a server of golive's own, or one that others use too."""

    @property
    def embedded(self) -> bool:
        """Whether it is a server of golive's own, in which it may make roles."""
        ...

    @property
    def keeps_rights(self) -> bool:
        """Whether the copy keeps owners and grants, whose roles are there."""
        ...

    def dsn(self, database: str) -> str:
        """Return the DSN of one of its databases; ``postgres`` is there before any copy."""
        ...

    def fresh(self, locale: Locale | None) -> str:
        """Make an empty database for the copy, replacing what an earlier try left, and return its DSN.

        It is of the encoding, and if that server knows it of the ``locale``, that are given.
        """
        ...

    def boot(self, data: Path, major: int, database: str, *, move: bool = False) -> str:
        """Run a server of golive's own on a copy of a data directory, and return the DSN of one of its databases.

        With ``move`` the directory itself is used up. That database is renamed to what `fresh` calls its own.
        """
        ...

    def check_pages(self, timeout: float) -> str:
        """Return what found every page of a booted copy as its checksum says; the server restarts for it.

        Raises `BackupNotProven` with what it found.
        """
        ...

    def remove(self) -> None:
        """Remove what is there."""
        ...


class Backup(Kind):
    """Keeps what production holds before it is touched, and proves by a copy that it can be had back."""

    model_config = ConfigDict(json_schema_extra=_asks_for_kind)

    directory: str = "{root}/backups"
    """Where backups are made, and kept unless ``storage`` says otherwise, each in a directory of its own (0700)."""
    keep: Annotated[int, Field(ge=1, le=1000)] = 14
    """How many backups of the system are kept; those of a release under way always are."""
    keep_for: Annotated[Duration | None, Field(examples=["30d"])] = None
    """After how long a backup is removed although fewer are kept; the newest stays, however old."""
    timeout: Duration = 3600.0
    """After how long the taking, or the making of a copy, is given up."""
    storage: Storage | None = None
    """Where finished backups are kept; in ``directory`` alone, if it is not given."""
    encrypt: Encryption | None = None
    """For whom finished backups are encrypted, wherever they are kept; the files are readable only until they are
    proven, so that a copy of a server's files is always whole: none can build upon an encrypted one."""
    headroom: Size = 200_000_000
    """How much room must stay free on the disk after the backup and its scratch copy."""
    depth: Literal["content", "checksums", "amcheck"] = "content"
    """How deep the copy is looked into once its tables are compared; each includes those before it.

    ``checksums`` holds every page of a copy of files against its checksum; ``amcheck`` holds every index against its
    table by pg_amcheck, where the copy's server has that extension. What cannot be looked into is unknown, with the
    reason, in the backup's proof.
    """

    copies_files: ClassVar[bool] = False
    """Whether the copy has production's own pages, so that damage in them is found in it."""

    def take(
        self,
        world: World,
        dsn: str,
        directory: Path,
        about: Mapping[str, Any],
        proven: Sequence[Path] = (),  # noqa: ARG002
    ) -> Archive:
        """Put a backup of a database into ``directory``, with a manifest that holds ``about`` too, whole or not at all.

        ``proven`` are where backups of this kind lie that were proven, the newest first: it may build upon one.
        Raises `AccessDenied` where a right is missing, `TimedOut`, `ToolMissing`, `CommandFailed`.
        """
        return archive.take(world, directory, self.kind, lambda into: self.save(world, dsn, into), about)

    def needs(self, archive: Archive) -> tuple[str, ...]:  # noqa: ARG002
        """Return the names of the backups, beside it, without which this one cannot be restored."""
        return ()

    def examine(self, world: World, copy: str, place: Place) -> Mapping[str, Any]:
        """Return what a look into the copy as deep as ``depth`` says has found; raises `BackupNotProven` on damage."""
        pages = place.check_pages if self.copies_files else None
        return look_into(world, copy, self.depth, pages, self.timeout)

    @abstractmethod
    def require_possible(self, world: World, dsn: str, place: Place | None) -> None:
        """Raise what stands in the way of a backup of production and, if ``place`` is given, of a copy there.

        Raises `AccessDenied` where a right is missing, `ToolMissing` where a program or an extension is.
        """

    @abstractmethod
    def room(self, world: World, dsn: str) -> Room:
        """Return the bytes that a backup, and the copies that are made of it, may need."""

    @abstractmethod
    def save(self, world: World, dsn: str, into: Path) -> Mapping[str, Any]:
        """Write the content of a backup into a directory that does not exist yet, and return what the manifest tells.

        That is at least ``tables`` (their fingerprint), ``counters`` (changes of each until then), ``server_version``
        and ``tools``.
        """

    @abstractmethod
    def verify(self, world: World, archive: Archive) -> Mapping[str, Any]:
        """Return what shows that the files are whole; raises `BackupNotProven`, or `CommandFailed` from a tool."""

    @abstractmethod
    def copy_into(self, world: World, archive: Archive, place: Place) -> str:
        """Make a database that holds what the backup holds, and return its DSN."""

    @abstractmethod
    def prove(self, world: World, archive: Archive, copy: str, production: str) -> Mapping[str, Any]:
        """Return ``tables``, the fingerprint of the copy, and what else proves that it is what production held.

        ``copy`` and ``production`` are DSNs. Raises `BackupNotProven` with the tables that differ.
        """

    @abstractmethod
    def put_back(self, world: World, archive: Archive, dsn: str, place: Place) -> None:
        """Fill an empty database beside the live one with the backup, owners and grants too, and compare it.

        Raises `BackupNotProven` unless it holds what was backed up.
        """
