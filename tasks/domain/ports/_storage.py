"""Where secrets come from and where backups are kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, BinaryIO, Protocol


class Secrets(Protocol):
    """Resolves the references by which a release file names secrets, and masks what it resolved."""

    def resolve(self, text: str) -> str:
        """Replace each ``${env:NAME}``, ``${file:PATH}`` and ``${block:NAME}``; raises `SecretMissing`."""
        ...

    def mask(self, text: str) -> str:
        """Replace every secret resolved so far, and every password in a URL or DSN, by ``•••``."""
        ...


class Bucket(Protocol):
    """A place for files that are kept elsewhere; names and paths are below its ``url``, which holds no secret.

    Errors come as `Unreachable`, `TimedOut`, `ServerTrouble`, `AccessDenied`, `NotFound` or `OutsideError`.
    """

    url: str

    def names(self) -> Sequence[str]:
        """Return the directories in it, sorted, also those of which only an upload that never ended is there."""
        ...

    def require_writable(self) -> None:
        """Write a little and remove it again; raises what stands in the way."""
        ...

    def sizes(self, name: str) -> Mapping[str, int]:
        """Return the bytes of each file below a directory, by its path in that; none if there is no such directory."""
        ...

    def put(self, source: Path, path: str) -> None:
        """Copy a local file there in chunks; an object store shows it whole or not at all."""
        ...

    def open(self, path: str) -> AbstractContextManager[BinaryIO]:
        """Read a file from there in chunks; raises `NotFound` if there is none."""
        ...

    def remove(self, path: str) -> None:
        """Remove a file, or a directory with all in it and with uploads that never ended; nothing there is fine."""
        ...


class Stores(Protocol):
    """Opens places for files by their URL."""

    def at(self, url: str, options: Mapping[str, Any], *, timeout: float) -> Bucket:
        """Return the place at a URL; it is given up when it is silent for ``timeout`` seconds.

        Raises `ToolMissing` with the package that is needed, and `UserError` for a URL or option it does not know.
        """
        ...


class Cipher(Protocol):
    """Encrypts for the holders of keys, in streams of any length."""

    def seal(self, source: BinaryIO, into: BinaryIO, recipients: Sequence[str]) -> None:
        """Encrypt for recipients, each a public key."""
        ...

    def unseal(self, source: BinaryIO, into: BinaryIO, identity: str) -> None:
        """Decrypt with the secret keys that stand in a text, one a line.

        Raises `BackupNotProven` if none of them fits, or what is read was changed or cut.
        """
        ...

    def require_pair(self, recipients: Sequence[str], identity: str) -> None:
        """Raise `UserError` unless the recipients are public keys and the secret keys can read what they are sent."""
        ...
