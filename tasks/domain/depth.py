"""How deep a backup's copy is looked into once its tables are compared: its pages' checksums, its indexes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tasks.domain.errors import AccessDenied, CommandFailed, SqlFailed, ToolMissing
from tasks.domain.outcome import Outcome
from tasks.domain.ports import World

_AVAILABLE = "SELECT count(*) FROM pg_available_extensions WHERE name = 'amcheck'"
_INSTALLED = "SELECT count(*) FROM pg_extension WHERE extname = 'amcheck'"
_READS_TABLES = 140000  # before, amcheck looked into indexes alone, and there was no pg_amcheck


def look_into(
    world: World, copy: str, depth: str, check_pages: Callable[[float], str] | None, timeout: float
) -> Mapping[str, Any]:
    """Return ``depth`` and the outcome of each look; ``check_pages`` is None where the copy's pages are new.

    Raises `BackupNotProven` on damage. A look that cannot be had is unknown, with the reason.
    """
    found: dict[str, Any] = {"depth": depth}
    if depth in {"checksums", "amcheck"}:
        found["pages"] = _outcome(lambda: _pages(world, copy, check_pages, timeout))
    if depth == "amcheck":
        found["indexes"] = _outcome(lambda: _indexes(world, copy, timeout))
    return found


def _outcome(look: Callable[[], str]) -> Mapping[str, str]:
    try:
        return {"outcome": Outcome.PASSED.value, "by": look()}
    except (AccessDenied, CommandFailed, SqlFailed, ToolMissing) as error:
        return {"outcome": Outcome.UNKNOWN.value, "reason": str(error)}


def _pages(world: World, copy: str, check_pages: Callable[[float], str] | None, timeout: float) -> str:
    if check_pages is None:
        raise ToolMissing("the copy was restored from a dump, and has no page of production's")
    with world.databases.session(copy) as session:
        if session.value("SHOW data_checksums") != "on":
            raise ToolMissing(
                "production keeps no checksums of its pages", do="pg_checksums --enable, while it is down"
            )
    return check_pages(timeout)


def _indexes(world: World, copy: str, timeout: float) -> str:
    with world.databases.session(copy) as session:
        version = session.server_version
        if version < _READS_TABLES:
            raise ToolMissing(f"pg_amcheck needs PostgreSQL 14, and the copy runs on {version // 10000}")
        if not session.value(_AVAILABLE):
            raise ToolMissing(
                "the copy's server does not have the extension amcheck",
                do="install PostgreSQL's contributed extensions",
            )
        added = not session.value(_INSTALLED)
        if added:
            session.execute("CREATE EXTENSION amcheck SCHEMA pg_catalog")
    try:
        return world.pg_tools.check_indexes(copy, server_version=version, timeout=timeout)
    finally:
        if added:  # the rehearsal compares the schema of this copy
            with world.databases.session(copy) as session:
                session.execute("DROP EXTENSION amcheck")
