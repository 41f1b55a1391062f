"""A database with a name that needs quoting wherever it is written goes live, and back, like any other."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.domain.ports import RunningServer
from tests.flows import ON_TITLE, RENAME, SmallSystem

ODD = 'my "odd"; db %s\' * %(x)s ${y} \\ ünïcödé$$'
MIXED = "F2X_NeuroHub_*"
LONGEST = "ü" * 26 + "*x"
"""With its tail of ten as many bytes as PostgreSQL keeps: a name made longer is cut to this one."""


@pytest.fixture
def system(
    request: pytest.FixtureRequest, open_directory: Path, pg_server: RunningServer, prefect_server: str
) -> Iterator[SmallSystem]:
    """A small system whose database has the name that is given as an indirect parameter."""
    made = SmallSystem.make(open_directory, pg_server, database=request.param)
    try:
        yield made
    finally:
        made.close()


@pytest.mark.parametrize(
    ("system", "backup"),
    [
        pytest.param(MIXED, {"kind": "dump"}, id="mixed case, dump"),
        pytest.param(ODD, {"kind": "dump"}, id="odd, dump"),
        pytest.param(LONGEST, {"kind": "dump"}, id="longest, dump"),
        pytest.param(ODD, {"kind": "physical"}, id="odd, physical"),
    ],
    indirect=["system"],
)
def test_a_database_of_any_name_goes_live_and_is_restored(system: SmallSystem, backup: dict[str, str]) -> None:
    system.write({f"backup.{key}": value for key, value in backup.items()})
    if backup["kind"] == "physical":
        system.write({"database.scratch": {"place": "embedded"}})
    system.phase("deploy", "v1")
    before = system.content()
    of_others = kept_aside(system)
    system.add_version("v2", query=ON_TITLE, up={"1_rename": RENAME})
    assert "live" in system.release("v2")
    release = system.latest().id
    assert system.serving() == "v2"
    system.sql("INSERT INTO item (title, price) VALUES ('written under v2', 1)")
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
