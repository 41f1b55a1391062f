"""pilot2 goes live by its own release file: version 2 stays; 3 mixes users up, and is taken back."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from examples.pilot2 import data
from flows.monitor import monitor
from flows.switch import switch
from tasks.domain.checklist import Way, by_program, coverage
from tasks.domain.errors import GoliveError
from tasks.domain.filling import Standing, tally
from tasks.domain.ports import RunningServer
from tasks.reporting.facts import gather
from tasks.reporting.values import ReleaseFacts
from tasks.spec import loading
from tasks.spec.checklist import claims_of
from tests.services import free_port
from tests.standins.pilot2 import migrate, stand_in
from tests.systems import System, run

pytestmark = pytest.mark.timeout(600)


@dataclass
class Story:
    """What came of it all, in order."""

    system: System
    second: ReleaseFacts
    looked: list[str]
    without_groq: tuple[str, list[str]]
    with_groq: tuple[str, list[str]]
    refused: str
    third: ReleaseFacts


def ask(system: System, path: str) -> httpx.Response:
    return httpx.get(f"{system.file['base_url']}{path}", timeout=20, trust_env=False)


def providers(system: System) -> list[str]:
    return list(ask(system, "/api/providers").json()["providers"])


@pytest.fixture(scope="module")
def story(pg_server: RunningServer, prefect_server: str) -> Iterator[Story]:
    with stand_in(pg_server, {"watch.every": "0s"}) as system:
        assert system.release_signed("v2").endswith("is live and watched")
        data.execute(system.dsn, executions=4_000)
        looked = list(run(monitor()))
        second = gather(system.ledger, system.latest().id)
        off = str(run(switch("pilot2", "groq", "it answers nonsense", "off", "ana"))), providers(system)
        on = str(run(switch("pilot2", "groq", "it is mended", "on", "ana"))), providers(system)
        with pytest.raises(GoliveError) as caught:
            system.release_signed("v3", supersede=True)
        third = gather(system.ledger, system.latest().id)
        yield Story(system, second, looked, off, on, str(caught.value), third)


def standings(facts: ReleaseFacts) -> dict[str, Standing]:
    return {row.id: row.standing for row in facts.checklist}


def test_a_release_that_goes_well_fills_the_checklist_in(story: Story) -> None:
    assert story.second.state == "watching"
    # Without a guard's probes the look as a whole says nothing of outages; each of its checks that decides has passed.
    assert len(story.looked) == 1
    in_watch = [run for run in story.second.checks if run.phase == "watch"]
    assert {run.name for run in in_watch} >= {"API answers", "the old version is kept running beside the new one"}
    assert [(run.name, run.seen) for run in in_watch if str(run.outcome) != "passed" and not run.advisory] == []
    file = loading.load(story.system.path)
    rows = coverage(loading.load_checklist(story.system.path), claims_of(file))
    assert by_program(rows) == (178, 182)
    number = tally(story.second.checklist)
    assert (number[Standing.FAILED], number[Standing.OPEN]) == (0, 0)
    assert (number[Standing.SIGNED], number[Standing.WAIVED]) == (6, sum(row.way is Way.WAIVED for row in rows))
    # Nothing has grown for an hour, and this server does not count statements.
    by_standing = standings(story.second)
    unknown = {row for row, standing in by_standing.items() if standing is Standing.UNKNOWN}
    assert unknown == {"P2-127", "P2-128", "P2-129", "P2-130", "P2-133"}
    left = {row for row, standing in by_standing.items() if standing is Standing.NOT_REACHED}
    of_other_ways = {f"P2-{number:03}" for number in range(99, 110)}
    not_called_for = {f"P2-{number}" for number in (137, 138, 139, 140, 141, 144, 145, 146, 148, 149, 150)}
    under_way = {"P2-098", "P2-117", "P2-192", "P2-193"}
    assert left == of_other_ways | not_called_for | under_way


def test_one_provider_can_be_taken_out_and_brought_back_while_the_release_is_watched(story: Story) -> None:
    said, left = story.without_groq
    assert "groq of pilot2 v2 is off" in said
    assert left == ["logic", "openai", "webhook"]
    said, back = story.with_groq
    assert "groq of pilot2 v2 is on" in said
    assert back == ["groq", "logic", "openai", "webhook"]


def test_a_version_that_shows_users_each_others_rows_is_taken_back_by_itself(story: Story) -> None:
    system, third = story.system, story.third
    assert (third.state, third.previous) == ("rolled_back", "v2")
    assert ask(system, "/api/health").json()["version"] == "v2"
    failed = {run.name for run in third.checks if run.phase == "health" and str(run.outcome) == "failed"}
    assert "no user of the service sees what another has" in failed
    assert standings(third)["P2-054"] is Standing.FAILED
    assert standings(third)["P2-139"] is standings(third)["P2-142"] is Standing.PASSED
    assert "health" in system.notes(third.id)
    with pytest.raises(GoliveError, match="v3"):
        system.release("v3", supersede=True)
    # What users have stored in the meantime is still theirs. Golive's own users have left nothing behind, but what this
    # version, which takes one user for another, did not remove; and that is told.
    left = system.sql("SELECT DISTINCT user_id FROM execution_logs WHERE user_id LIKE 'golive-%'")
    looks = [one for one in system.ledger.evidence.measurements(third.id) if one.outcome == "failed"]
    told = {f"golive-{one.detail['run']}" for one in looks if "run" in one.detail}
    assert {row["user_id"] for row in left} <= {"golive-compatibility"} | told
    assert system.sql("SELECT count(*) AS n FROM execution_logs WHERE user_id LIKE 'user\\_%'")[0]["n"] >= 4_000


@pytest.mark.parametrize("kind", ["rolling", "recreate"])
def test_the_same_file_goes_live_by_the_other_ways_of_the_document(kind, pg_server, prefect_server):
    ports: dict[str, Any] = {"port": free_port()} if kind == "recreate" else {"ports": [free_port(), free_port()]}
    ready = {"path": "/api/health", "every": "50ms", "within": "30s"}
    with stand_in(pg_server, {"rollout": {"kind": kind, "ready": ready, "drain": "100ms", **ports}}) as system:
        migrate(system)
        system.deploy_unsigned("v2")
        assert ask(system, "/api/health").json()["version"] == "v2"
        assert providers(system) == ["groq", "logic", "openai", "webhook"]
        done = [name for phase, name, event in system.steps() if phase == "deploy" and event == "done"]
        replaced = [name for name in done if name.startswith("replace ")]
        if kind == "rolling":
            assert len(replaced) == 2
        else:
            assert done.index("stop the old version") < done.index("start v2")
