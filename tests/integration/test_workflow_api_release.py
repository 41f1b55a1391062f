"""workflow-api goes live in containers, its feared fault is taken back, and its quick commands have equivalents."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from deployments.cli import app
from flows.monitor import monitor
from tasks.context import production, world_of
from tasks.domain.errors import ChecksFailed
from tasks.domain.outcome import Outcome
from tasks.domain.ports import RunningServer
from tasks.instances import instances_of
from tasks.platforms import Running
from tasks.reporting.facts import gather
from tasks.settings import Settings
from tasks.spec import loading
from tests.engines import docker
from tests.flows import wait_until
from tests.standins.workflow_api import API, EXECUTOR, KAFKA, Around, standing
from tests.systems import System, run

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def live(pg_server: RunningServer, prefect_server: str) -> Iterator[tuple[System, Around]]:
    """v1 by `deploy`, as development does it, and then v2 by a whole release that two people have signed."""
    with standing(pg_server) as (system, around):
        system.deploy_unsigned("v1")
        assert serves(around) == "v1"
        system.write({"watch.every": "0s"})
        system.release_signed("v2")
        yield system, around


def serves(around: Around) -> str:
    return str(httpx.get(f"http://127.0.0.1:{around.api}/health", trust_env=False).json()["version"])


def stands(system: System, release_id: str) -> dict[str, str]:
    """Return how each row of the report stands."""
    return {row.id: str(row.standing) for row in gather(system.ledger, release_id).checklist}


def golive(system: System, *words: str, code: int = 0) -> Any:
    with system.in_environment():
        done = CliRunner().invoke(app, list(words))
    assert done.exit_code == code, (words, done.stdout, done.stderr)
    return done


def test_v2_is_live_with_its_checklist_filled_in(live):
    system, around = live
    release = system.latest()
    assert (serves(around), release.state) == ("v2", "watching")
    assert [row["version_num"] for row in system.sql("SELECT version_num FROM alembic_version")] == ["0002"]
    # A one-off container is gone when it has done its work.
    assert "migration" not in docker(around.engine, "ps", "--all", "--format", "{{.Names}}")
    run(monitor())
    told = stands(system, release.id)
    bad = "SELECT name, seen FROM measurement WHERE release_id = %s AND outcome <> 'passed'"
    assert system.sql_in_ledger(bad, (release.id,)) == []
    assert len(told) == 147
    assert {"open", "failed", "unknown"}.isdisjoint(told.values())
    assert [row for row, how in told.items() if how == "signed"] == ["WA-132"]
    waived = {*(f"WA-{number}" for number in range(126, 131)), "WA-139", "WA-145"}
    assert {row for row, how in told.items() if how == "waived"} == waived
    # The way back was not gone.
    assert {row for row, how in told.items() if how == "not reached"} <= WAY_BACK
    page = Path(golive(system, "report", release.id).stdout.strip()).read_text()
    assert "latest would stay on the failed build" in page


WAY_BACK = {"WA-098", "WA-099", "WA-100", "WA-101", "WA-102", "WA-103", "WA-104"}


def test_each_quick_command_has_an_equivalent_that_works(live):
    """The fixture has shown those to deploy development and production."""
    system, around = live
    with system.in_environment():
        assert re.search(r"v2.*watching", golive(system, "status", system.name).stdout)  # status
        logs = golive(system, "logs", system.name, "--lines", "50")  # logs
        assert "main: up v2 on port" in logs.stderr
        assert "the executor of version v2 has started" in logs.stdout
        told = golive(system, "disable", system.name, "service", "--by", "ann", "--reason", "repairs")  # stop
        assert "service of workflow-api v2 is off" in told.stdout + told.stderr
        up = docker(around.engine, "ps", "--format", "{{.Names}}").split()
        assert up == [KAFKA]
        assert system.sql("SELECT count(*) > 0 AS there FROM workflow_runs") == [{"there": True}]
        assert "service is off" in golive(system, "status", system.name).stdout
        for check in ("the API's container runs and is healthy", "the executor's container runs"):
            assert looked(system, check) is Outcome.FAILED
        golive(system, "enable", system.name, "service", "--by", "ann", "--reason", "repaired")
        # What was started a moment ago does not count as what served before the next release.
        wait_until(lambda: instances_of(system.name, 1)[0].status.running is Running.UP, 90)
        assert serves(around) == "v2"
        assert looked(system, "the executor's container runs") is Outcome.PASSED


def looked(system: System, check: str) -> Outcome:
    ctx_file = loading.load(system.path)
    settings = Settings.from_environment()
    at = production(ctx_file, settings, world_of(ctx_file), "v2")
    return ctx_file.check(check).look(at).outcome


def test_a_version_whose_executor_receives_nothing_is_taken_back(live):
    system, around = live
    # What v2 has shown of the preparations need not be shown again.
    few = [check for check in system.file["checks"]["preflight"] if check["kind"] in {"image", "container"}]
    system.write({"checks.preflight": few, "checks.health": quick(system.file["checks"]["health"])})
    before = system.sql("SELECT count(*) AS rows FROM audit_log")[0]["rows"]
    with pytest.raises(ChecksFailed, match="the executor takes a run and completes it"):
        system.release_signed("v3", supersede=True)
    release = system.latest()
    assert (release.state, serves(around)) == ("rolled_back", "v2")
    done = [name for phase, name, event in system.steps() if (phase, event) == ("rollback", "done")]
    assert "take the schema back" in done
    assert "restore the database" not in done
    assert [row["version_num"] for row in system.sql("SELECT version_num FROM alembic_version")] == ["0002"]
    # Nothing was lost on the way: PostgreSQL and Kafka ran all the time, and the tag of the failed build is its own.
    assert system.sql("SELECT count(*) AS rows FROM audit_log")[0]["rows"] > before
    assert docker(around.engine, "inspect", "--format", "{{.RestartCount}} {{.State.Running}}", KAFKA) == "0 true"
    runs = docker(around.engine, "inspect", "--format", "{{.Image}}", API, EXECUTOR).split()
    assert set(runs) == {docker(around.engine, "image", "inspect", "--format", "{{.Id}}", "golive/workflow-api:v2")}
    assert "latest" not in docker(around.engine, "images", "--format", "{{.Tag}}", "workflow-api")
    told = stands(system, release.id)
    assert (told["WA-072"], told["WA-073"], told["WA-102"], told["WA-104"]) == ("failed", "failed", "passed", "passed")
    page = Path(golive(system, "report", release.id).stdout.strip()).read_text()
    assert "the executor takes a run and completes it" in page
    refused = golive(system, "release", system.name, "v3", code=3)
    assert "v3" in refused.stderr


def test_where_nobody_signs_migrations_and_health_are_run_alone(live):
    """As in development: `golive phase migrate` and `golive phase health`; `golive phase deploy` began this module."""
    system, around = live
    system.write({"sign_off": {}, "checklist.signed": {}})
    for phase in ("migrate", "health"):
        system.phase(phase, "v2")
        assert (system.latest().scope, system.latest().state) == (phase, "done")
    assert serves(around) == "v2"


def quick(checks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return checks of which none waits for long for what will not come."""
    text = json.dumps(checks).replace('"within": "20s"', '"within": "8s"')
    found: list[dict[str, Any]] = json.loads(text)
    return found
