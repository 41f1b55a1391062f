"""Code from a directory that holds one sub-directory per version."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from tasks.domain.errors import AccessDenied, OutsideError, Refused, ReleaseFileError
from tasks.domain.release import check_version
from tasks.domain.target import Target
from tasks.sources import ARCHIVED, MARKER, Built, Fetched, no_such_version, place, refuse_links_that_leave

_LEFT_OUT = frozenset({"__pycache__", ".git", ".venv"})


class Directory(Built):
    """Takes a version's code from the sub-directory of its name, on the machine where golive runs.

    ``__pycache__``, ``.git`` and ``.venv`` are left out.
    """

    kind: Literal["directory"] = "directory"
    """Which kind of source this is."""
    path: Annotated[str, Field(min_length=1, examples=["/srv/builds/shop"])]
    """The directory that holds one sub-directory per version."""

    def identify(self, target: Target, version: str) -> str:
        """Return a hash of the version's paths, executable bits and bytes, with what is built from them.

        Raises `InvalidVersion` if there is no such sub-directory, `Refused` if it holds a link that leads out of it.
        """
        return self.exactly(digest_of(self._find(target, version)))

    def fetch(self, target: Target, version: str) -> Fetched:
        """Copy the version to ``{root}/releases/VERSION``, whole or not at all, and return it."""
        found = self._find(target, version)
        digest = digest_of(found)
        host = target.world.host

        def fill(tree: Path) -> None:
            host.send_tree(found, tree, _LEFT_OUT)
            if digest_of(found) != digest:
                raise OutsideError(
                    "the code changed while it was copied", where=str(found), do="try again when it is at rest"
                )

        return place(target, version, self.exactly(digest), str(found), fill, self.build)

    def _find(self, target: Target, version: str) -> Path:
        base = Path(target.at(version=check_version(version)).fill(self.path)).expanduser().absolute()
        if not base.is_dir():
            raise ReleaseFileError(
                "there is no such directory", expected="a directory with one sub-directory per version", where=str(base)
            )
        if not (base / version).is_dir():
            known = sorted(entry.name for entry in base.iterdir() if entry.is_dir() and entry.name[0] != ".")
            raise no_such_version(version, known, str(base))
        return (base / version).resolve()


def _walk(tree: Path) -> Iterator[Path]:
    """Yield all that is in a tree, in the order of names, without entering what is left out."""
    with os.scandir(tree) as entries:
        found = sorted(entries, key=lambda entry: entry.name)
    for entry in found:
        yield Path(entry.path)
        if entry.is_dir(follow_symlinks=False) and entry.name not in _LEFT_OUT:
            yield from _walk(Path(entry.path))


def digest_of(tree: Path) -> str:
    """Return a hash of a tree's paths, executable bits and bytes; raises `Refused` for a link that leads out of it."""
    found = list(_walk(tree))
    links = {str(one.relative_to(tree)): str(one.readlink()) for one in found if one.is_symlink()}
    refuse_links_that_leave({name: to for name, to in links.items() if Path(name).name not in _LEFT_OUT}, str(tree))
    total = hashlib.sha256()
    try:
        for path in found:
            relative = path.relative_to(tree)
            if path.name not in _LEFT_OUT and str(relative) not in {MARKER, ARCHIVED}:
                # NUL cannot be in a path: it ends a field, so that no two trees give the same bytes.
                total.update(b"\0".join((os.fsencode(relative), *_content(path), b"")))
    except OSError as error:
        named = AccessDenied if isinstance(error, PermissionError) else OutsideError
        raise named(f"{error.strerror}", where=str(error.filename or tree)) from error
    return f"sha256:{total.hexdigest()}"


def _content(path: Path) -> tuple[bytes, bytes]:
    mode = path.lstat().st_mode
    if stat.S_ISLNK(mode):
        return b"link", os.fsencode(path.readlink())
    if stat.S_ISDIR(mode):
        return b"directory", b""
    if not stat.S_ISREG(mode):
        raise Refused("is neither a file, a directory nor a link", where=str(path), do="take it out of the version")
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return (b"program" if mode & stat.S_IXUSR else b"file"), digest.encode()
