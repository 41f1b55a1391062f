"""What the release files of all systems name, to be offered in forms."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path

from tasks.domain.errors import UserError
from tasks.spec import loading
from tasks.spec.release_file import ReleaseFile


def roles_in(directory: Path) -> list[str]:
    """Return the roles that sign anywhere, sorted."""
    return sorted({role for file in _files(directory) for gate in file.gates() for role in file.signers(gate)})


def switches_in(directory: Path) -> list[str]:
    """Return the names of all switches, sorted."""
    return sorted({one.name for file in _files(directory) for one in file.switches})


@cache
def _files(directory: Path) -> tuple[ReleaseFile, ...]:
    return tuple(_sound(directory))


def _sound(directory: Path) -> Iterator[ReleaseFile]:
    for system in loading.systems_in(directory):
        try:
            yield loading.load(loading.find_release_file(directory, system))
        except UserError:
            continue  # whoever starts a flow of that system is told
