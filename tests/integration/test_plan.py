from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from deployments.cli import app
from tasks.domain.ports import RunningServer
from tests.flows import GROW, SmallSystem, a_running_system


@pytest.fixture(scope="module")
def plain(pg_server: RunningServer) -> Iterator[SmallSystem]:
    """A system that v1 serves, with v2 in its source; its flows run without Prefect's server."""
    with a_running_system(pg_server) as system:
        system.add_version("v2", up={"1_grow": GROW}, down={"1_grow": "ALTER TABLE item DROP COLUMN colour;\n"})
        yield system


def golive(*words: str, code: int = 0) -> Any:
    seen = CliRunner().invoke(app, list(words))
    assert seen.exit_code == code, seen.output + str(seen.exception)
    return seen


def _files(home: Path) -> dict[str, int]:
    # What the service that runs writes is not golive's doing.
    kept = [one for one in home.rglob("*") if not {"supervisor", "prefect"} & set(one.parts) and one.is_file()]
    return {str(one): one.stat().st_mtime_ns for one in kept}


def test_a_plan_says_what_the_release_then_does_and_changes_nothing(plain: SmallSystem) -> None:
    plain.write({"sign_off": {"go": ["dba"]}, "rollback": {"when": [{"kind": "corruption"}]}})
    before, rows = _files(plain.home), plain.sql_in_ledger("SELECT count(*) AS n FROM release")
    with plain.untouched():
        plan = json.loads(golive("plan", "shop", "v2", "--json").stdout)
        text = golive("plan", "shop", "v2").stdout
    assert _files(plain.home) == before
    assert plain.sql_in_ledger("SELECT count(*) AS n FROM release") == rows

    assert (plan["serving"], plan["signatures"]["gates"]) == ("v1", {"go": {"dba": 1}})
    assert plan["rollout"]["places"] == [
        {"place": "main", "host": None, "port": plain.port, "running": "up", "version": "v1"}
    ]
    assert plan["backup"]["needed"] < plan["backup"]["free"]
    assert plan["migration"]["way_down"] is True
    assert set(plan["way_back"]["ways"]) == {"keep", "downgrade", "restore"}
    assert not plan["way_back"]["decided"]
    assert {"where": "platform.processes.web.command", "argv": ["{python}", "service.py"]} in plan["commands"]
    for words in (
        "shop: v1 → v2",
        "1_grow_up.sql",
        "the signature of dba",
        "Traffic: not known: nothing was counted",
        "stop the old version",
        "trigger corruption",
    ):
        assert words in text
    assert plain.dsn not in text

    plain.write({"sign_off": {}})
    plain.release("v2")
    deploys = [name for phase, name, event in plain.steps() if (phase, event) == ("deploy", "started")]
    planned = [one["does"] for phase in plan["phases"] if phase["phase"] == "deploy" for one in phase["steps"]]
    assert [one for one in planned if one in deploys] == ["stop the old version", "start v2", "wait until v2 is ready"]
    applied = plain.sql("SELECT name FROM golive_migrations WHERE applied_by_version = 'v2'")
    assert plan["migration"]["pending"] == [row["name"] for row in applied]

    watched = json.loads(golive("plan", "shop", "v2", "--json").stdout)
    assert "is watching" in watched["in_the_way"][0]
    assert watched["migration"]["pending"] == []
    assert (watched["way_back"]["decided"], list(watched["way_back"]["ways"])) == (True, ["keep"])


def test_what_cannot_be_known_is_said_and_the_rest_is_planned(
    plain: SmallSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_DSN", "postgresql://ana:hidden-word@127.0.0.1:9/shop")
    said = golive("plan", "shop", "v2")
    assert "not known: " in said.stdout
    assert "stop the old version" in said.stdout
    assert "hidden-word" not in said.output


def test_a_version_or_a_secret_that_there_is_not_is_told(plain: SmallSystem, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "there is no version v9" in golive("plan", "shop", "v9").stdout
    monkeypatch.delenv("SHOP_DSN")
    assert "SHOP_DSN" in golive("plan", "shop", "v2", code=2).stderr
