from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from typer.testing import CliRunner

from deployments.cli import app
from deployments.looking_on import lines_since, screen_of
from tasks import health
from tasks.domain.outcome import Outcome
from tasks.domain.ports import RunningServer
from tasks.domain.release import State
from tests.flows import SmallSystem, a_running_system

PROBED = {"every": "1h", "for": "24h", "probe": {"every": "200ms", "check": "it answers"}}


@pytest.fixture(scope="module")
def live(pg_server: RunningServer) -> Iterator[SmallSystem]:
    """A system of which v2 is live and watched."""
    with a_running_system(pg_server) as system:
        system.add_version("v2")
        patch = pytest.MonkeyPatch()
        patch.setattr(health, "SAMPLES", 8)  # nothing here is judged against a baseline
        system.write(
            {
                "watch": PROBED,
                "checks.health": [{"kind": "http", "name": "it answers", "url": "{base_url}/health"}],
                "rollback": {"when": [{"kind": "down", "for": "10 min"}, {"kind": "corruption"}]},
            }
        )
        system.release("v2", reason="for a test", started_by="ann")
        patch.undo()
        yield system


def golive(*words: str, code: int = 0) -> Any:
    seen = CliRunner().invoke(app, list(words))
    assert seen.exit_code == code, seen.output + repr(seen.exception)
    return seen


def test_history_tells_each_release_with_its_phases_and_how_it_came_out(live: SmallSystem) -> None:
    newest, first = json.loads(golive("history", "shop", "--json").stdout)[:2]
    assert (newest["version"], newest["previous_version"], newest["started_by"]) == ("v2", "v1", "ann")
    assert {"preflight", "backup", "migrate", "deploy"} <= set(newest["phases"])
    assert 0 < newest["phases"]["deploy"] <= newest["seconds"]
    assert (first["scope"], first["state"]) == ("deploy", State.DONE)
    table = golive("history", "shop", "--limit", "1").stdout
    assert "v1 → v2" in table
    assert "for a test" in table


def test_what_is_followed_shows_probes_the_next_look_and_how_near_a_trigger_is(
    live: SmallSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tasks.following import seen_of

    at = live.ledger.evidence.now()
    monkeypatch.setattr(type(live.ledger.evidence), "now", lambda _self: at)
    probe = {"release_id": live.latest().id, "check": "it answers", "elapsed": 0.01, "control": None, "source": "guard"}
    live.ledger.evidence.probed(
        [
            {**probe, "at": at - timedelta(seconds=0.2 * (5 - number)), "outcome": outcome}
            for number, outcome in enumerate([Outcome.PASSED] * 2 + [Outcome.FAILED] * 4)
        ]
    )
    now = seen_of(live.ledger, live.latest().id)
    down, corruption = now["triggers"]
    assert now["probes"]["row"].endswith("xxxx")
    assert (down["kind"], down["state"]) == ("down", "suspicious")
    assert 0 < down["near"] < 1
    assert (corruption["near"], corruption["state"]) == (None, "unknown")
    assert now["next_look"] > now["now"]
    assert now["steps"]["now"] is None
    lines = lines_since(None, now)
    assert any(line.endswith("v1 → v2") for line in lines)
    assert any("trigger down suspicious" in line for line in lines)
    assert lines_since(now, now) == []
    from rich.console import Console

    with (console := Console(width=150)).capture() as captured:
        console.print(screen_of(now))
    for words in ("xxxx", "next look", "% of its limit", "golive rollback shop"):
        assert words in captured.get()


def test_a_release_is_followed_to_its_end_in_lines(live: SmallSystem) -> None:
    release_id = live.latest().id
    with ThreadPoolExecutor(1) as beside:
        following = beside.submit(CliRunner().invoke, app, ["watch", "shop", "--every", "0.1"])
        live.rollback(reason="the test has seen enough")
        ended = following.result(timeout=60)
    assert ended.exit_code == 1
    said = ended.stdout.splitlines()
    assert f"{release_id}: v1 → v2" in said[0]
    assert "rolled_back" in said[-1]
    (past,) = json.loads(golive("history", "shop", "--json", "--limit", "1").stdout)
    assert "the test has seen enough" in past["why"]
    as_json = golive("watch", release_id, "--json", code=1).stdout.splitlines()
    assert json.loads(as_json[-1])["state"] == "rolled_back"


def test_a_system_without_a_release_is_told(live: SmallSystem) -> None:
    assert "expected an id, or one of shop" in golive("watch", "shp", code=2).stderr
    assert "did you mean shop?" in golive("history", "shp", code=2).stderr
