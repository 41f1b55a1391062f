"""This machine: Python, room, and the programs that the systems need."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from importlib.metadata import version as installed_version

from deployments.doctor.finding import Finding, Look, well, wrong
from tasks.context import world
from tasks.domain.errors import GoliveError
from tasks.domain.ports import Command
from tasks.domain.units import show_bytes
from tasks.settings import Settings
from tasks.spec.release_file import ReleaseFile

_ROOM = 1_000_000_000
"""Bytes that golive's own directory should have to spare."""


def looks(settings: Settings, files: Sequence[ReleaseFile]) -> list[Look]:
    """Return the looks at this machine."""

    def at(program: str, word: str) -> Look:
        return lambda: _program(program, word)

    return [_python, lambda: _room(settings), *(at(*one) for one in _programs(files).items())]


def _python() -> Finding:
    seen = f"Python {platform.python_version()}"
    seen += "".join(f", {name} {installed_version(name)}" for name in ("golive", "prefect"))
    return well("python", seen)


def _room(settings: Settings) -> Finding:
    free = world().host.disk_free(settings.home)
    seen = f"{show_bytes(free)} free at {settings.home}"
    if free < _ROOM:
        return wrong("disk", seen, f"{show_bytes(_ROOM)} or more", "make room, or move GOLIVE_HOME")
    return well("disk", seen)


def _programs(files: Sequence[ReleaseFile]) -> dict[str, str]:
    """Return the programs that these systems need on this machine, each with the word that asks for its version."""
    needed: dict[str, str] = {}
    for file in files:
        if file.source.kind == "git" or file.rollout.kind == "push":
            needed["git"] = "--version"
        if file.source.kind == "image" or (file.platform.kind == "compose" and not file.hosts):
            needed["docker"] = "--version"
        if file.hosts:
            needed["ssh"] = "-V"
        if file.backup.kind == "pgbackrest":
            needed["pgbackrest"] = "version"
        if file.platform.kind == "systemd" and not file.hosts:
            needed["systemctl"] = "--version"
        needed[file.rehearsal.review.program] = "--version"
    return needed


def _program(program: str, word: str) -> Finding:
    try:
        ended = world().host.run(Command((program, word), timeout=15.0))
    except GoliveError as error:
        return wrong(f"program {program}", error.seen, "it to be installed", f"install {program}")
    said = (ended.stdout or ended.stderr).strip().splitlines()
    return well(f"program {program}", said[0] if said else "there")
