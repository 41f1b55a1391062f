"""Each system: its secrets by name, its database, its hosts, room for its backups."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

from deployments.doctor.finding import Finding, Look, not_known, well, wrong
from tasks.context import production, root_of, site_of, world, world_of
from tasks.domain.errors import GoliveError
from tasks.domain.units import show_bytes
from tasks.settings import Settings
from tasks.spec.release_file import ReleaseFile

_REFERENCE = re.compile(r"\$\{(env|file|block):([^{}]+)\}")


def looks(settings: Settings, file: ReleaseFile, text: str) -> list[Look]:
    """Return the looks at a system, of which one that nobody has set up here needs only one."""
    named = sorted({(kind, name) for kind, name in _REFERENCE.findall(text)})
    unset = [one for one in named if one[0] != "block" and not _resolves(*one)]
    variables = [name for kind, name in named if kind == "env"]
    if variables and not any(os.environ.get(name) for name in variables):
        seen = f"none of {', '.join(variables)} is set"
        return [lambda: not_known(file.system, f"not in use here: {seen}", "them to be set", "export them")]
    found: list[Look] = [lambda: _secrets(file, named, unset), lambda: _backups(settings, file)]
    if not unset:
        found += [lambda: _database(settings, file), *(_at(settings, file, one.name) for one in file.hosts)]
    return found


def _at(settings: Settings, file: ReleaseFile, name: str) -> Look:
    return lambda: _host(settings, file, name)


def _resolves(kind: str, name: str) -> bool:
    try:
        world().secrets.resolve(f"${{{kind}:{name}}}")
    except GoliveError:
        return False
    return True


def _secrets(file: ReleaseFile, named: Sequence[tuple[str, str]], unset: Sequence[tuple[str, str]]) -> Finding:
    about = f"{file.system}: secrets"
    if unset:
        names = ", ".join(f"${{{kind}:{name}}}" for kind, name in unset)
        return wrong(about, f"no value for {names}", "each to have one", "set them where golive runs, then golive up")
    blocks = sum(kind == "block" for kind, _name in named)
    also = f"; {blocks} are blocks of Prefect, which were not read" if blocks else ""
    return well(about, f"{len(named) - blocks} resolved by name{also}")


def _backups(settings: Settings, file: ReleaseFile) -> Finding:
    root = root_of(file, settings)
    directory = root_of(file, settings, file.backup.directory.replace("{root}", str(root)))
    free = world().host.disk_free(directory)
    seen, about = f"{show_bytes(free)} free at {directory}", f"{file.system}: room for backups"
    if free < file.backup.headroom:
        return wrong(about, seen, f"{show_bytes(file.backup.headroom)} to spare", "make room, or move backup.directory")
    return well(about, seen)


def _database(settings: Settings, file: ReleaseFile) -> Finding:
    at = world_of(file)
    about = f"{file.system}: database"
    try:
        dsn = production(file, settings, at, "").dsn
        with at.databases.session(dsn, read_only=True, statement_timeout=10) as session:
            number = session.server_version
        tools = at.pg_tools.versions(number)
    except GoliveError as error:
        return wrong(about, at.secrets.mask(str(error)), "it to answer, and client programs that fit it", error.do)
    return well(about, f"PostgreSQL {number // 10000}.{number % 10000}; pg_dump {tools['pg_dump']}")


def _host(settings: Settings, file: ReleaseFile, name: str) -> Finding:
    about = f"{file.system}: host {name}"
    try:
        there = site_of(file, settings, production(file, settings, world(), "")).on(name)
        there.world.host.require_usable()
        free = there.world.host.disk_free(there.root)
    except GoliveError as error:
        return wrong(about, world().secrets.mask(error.seen), "it to let golive in", error.do)
    return well(about, f"lets golive in; {show_bytes(free)} free at {there.root}")
