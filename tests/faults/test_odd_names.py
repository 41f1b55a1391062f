"""A database with a name that needs quoting wherever it is written goes live, and back, like any other."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.domain.ports import RunningServer
from tests.flows import ON_TITLE, RENAME, SmallSystem

ODD = 'F2X_"Odd"; db %s\' %(x)s ${y} \\ $$ üüüüüüüüü*x'
"""With its tail of ten as many bytes as PostgreSQL keeps: a name made longer is cut to this one."""


@pytest.fixture
def system(open_directory: Path, pg_server: RunningServer) -> Iterator[SmallSystem]:
    """A small system whose database has the odd name."""
    made = SmallSystem.make(open_directory, pg_server, database=ODD)
    try:
        yield made
    finally:
        made.close()


@pytest.mark.timeout(300)  # two releases and their ways back
def test_a_database_of_any_name_goes_live_and_is_restored_by_either_kind_of_backup(system: SmallSystem) -> None:
    assert len(ODD.replace("*", "0123456789").encode()) == 63
    system.phase("deploy", "v1")
    before = system.content()
    goes_live_and_is_restored(system, "v2")
    system.write({"backup.kind": "physical", "database.scratch": {"place": "embedded"}})
    goes_live_and_is_restored(system, "v3")
    assert system.content() == before
    kept = system.ledger.evidence.backups("shop")[0]
    assert (kept.kind, kept.proven, kept.proof["tables"]["public.item"]["rows"]) == ("physical", True, 500)
    assert kept.proof["files_verified"] > 900


def goes_live_and_is_restored(system: SmallSystem, version: str) -> None:
    before, of_others = system.content(), kept_aside(system)
    system.add_version(version, query=ON_TITLE, up={"1_rename": RENAME})
    assert "live" in system.release(version)
    release = system.latest().id
    assert system.serving() == version
    system.sql("INSERT INTO item (title, price) VALUES ('written under it', 1)")
    assert system.rollback(reason="sold too little", release=release, accept_loss=1000) == "v1"
    assert (system.serving(), system.content()) == ("v1", before)
    assert system.latest().state == "rolled_back"
    (kept,) = kept_aside(system) - of_others
    assert len(kept.encode()) <= 63
    system.no_scratch_is_left()


def kept_aside(system: SmallSystem) -> set[str]:
    """Return the databases that rollbacks have kept on the server, also those of other systems."""
    rows = system.sql("SELECT datname FROM pg_database WHERE datname LIKE '%\\_before\\_%'")
    return {row["datname"] for row in rows}
