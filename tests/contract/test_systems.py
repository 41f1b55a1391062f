"""What holds of every system in ``deployments/systems``."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from tasks.domain.checklist import BY_PROGRAM, Way, by_program, coverage
from tasks.spec import loading
from tasks.spec.checklist import claims_of
from tests.systems import SYSTEMS


@pytest.fixture(params=sorted(SYSTEMS.iterdir()), ids=lambda path: path.name)
def home(request: pytest.FixtureRequest) -> Path:
    path: Path = request.param
    return path


def test_every_row_of_its_checklist_is_accounted_for_and_nine_in_ten_by_a_program(home):
    file = loading.load(home / "release.yaml")
    rows = coverage(loading.load_checklist(home / "release.yaml"), claims_of(file))
    assert rows
    assert [one.row.id for one in rows if one.way is Way.OPEN] == []
    # What a program can decide is not left to a signature.
    assert [one.row.id for one in rows if one.way is Way.SIGNED and one.row.nature in BY_PROGRAM] == []
    done, of = by_program(rows)
    assert done >= 0.9 * of


def test_it_has_a_stand_in_that_tests_and_benchmarks_set_up(home):
    assert importlib.util.find_spec(f"tests.standins.{home.name.replace('-', '_')}") is not None


def test_its_runbook_is_named_and_its_versions_have_a_way_back(home):
    file = loading.load(home / "release.yaml")
    assert file.runbook
    assert file.rollback.automatic
    assert file.checks.compatibility
