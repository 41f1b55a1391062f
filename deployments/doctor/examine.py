"""Brings all looks together."""

from __future__ import annotations

from collections.abc import Sequence

from deployments.doctor import ledger, machine, server, systems
from deployments.doctor.finding import Finding, Look, not_known, wrong
from deployments.serving import running_ledger
from tasks.context import world
from tasks.domain.errors import GoliveError
from tasks.domain.together import together
from tasks.settings import Settings
from tasks.spec import loading
from tasks.spec.release_file import ReleaseFile


def examine(settings: Settings, names: Sequence[str]) -> list[Finding]:
    """Return what is found of golive itself and of the systems named, all of them looked at side by side."""
    files, found = _files(settings, names)
    looks = [
        *machine.looks(settings, [file for file, _text in files]),
        *ledger.looks(settings, running_ledger(settings)),
    ]
    for file, text in files:
        looks += systems.looks(settings, file, text)
    return [*together(_made, looks), *server.findings(settings), *found]


def _made(look: Look) -> Finding:
    try:
        return look()
    except GoliveError as error:
        return not_known("a look", world().secrets.mask(str(error)), "it to be made")


def _files(settings: Settings, names: Sequence[str]) -> tuple[list[tuple[ReleaseFile, str]], list[Finding]]:
    files, found = [], []
    for system in names:
        path = loading.find_release_file(settings.systems, system)
        try:
            files.append((loading.load(path), loading.read_text(path)))
        except GoliveError as error:
            found.append(wrong(f"{system}: release file", str(error), "a valid one", f"golive validate {system}"))
    return files, found
