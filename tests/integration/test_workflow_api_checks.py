"""What workflow-api's release file checks passes on the sound version 2, and fails on one in which it is broken."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from examples.workflow_api import build, data
from tasks.checking import measure
from tasks.checks import Check
from tasks.domain.checklist import BY_PROGRAM, Way, by_program, counts, coverage
from tasks.domain.outcome import Outcome
from tasks.domain.ports import World
from tasks.domain.target import Target
from tasks.spec import loading
from tasks.spec.checklist import claims_of
from tests.engines import require_generation
from tests.kafka import kafka
from tests.looks import F, P, U
from tests.services import free_port
from tests.standins.workflow_api import PASSWORD, SECRET, TOPIC, issue_token, write_environment
from tests.systems import SYSTEMS

PATH = SYSTEMS / "workflow-api" / "release.yaml"
FILE = loading.load(PATH)
DSN = f"postgresql://workflow_user:{PASSWORD}@db.example.com:5432/workflow_db?sslmode=require"


def test_nine_in_ten_rows_that_a_program_can_decide_are_automated():
    rows = coverage(loading.load_checklist(PATH), claims_of(FILE))
    assert counts(rows) == {Way.AUTOMATED: 139, Way.SIGNED: 1, Way.WAIVED: 7, Way.OPEN: 0}
    assert by_program(rows) == (124, 127)
    assert {one.row.nature for one in rows if one.way is Way.SIGNED}.isdisjoint(BY_PROGRAM)


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> Path:
    to = tmp_path_factory.mktemp("versions")
    build.build(to, ["v1", "v2"])
    return to


@pytest.fixture
def target(world: World, trees: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Target:
    """Version 2's code with its environment files; nothing runs."""
    shutil.copytree(trees / "v2", tmp_path / "v2")
    (tmp_path / "env").mkdir()
    write_environment(tmp_path / "env" / ".env.api.production", DSN, SECRET, 9092)
    write_environment(tmp_path / "env" / ".env.api", "postgresql://d:d@127.0.0.1/d", "development-" + "d" * 32, 9092)
    monkeypatch.setenv("WORKFLOW_API_TOKEN", issue_token(trees / "v2"))
    monkeypatch.setenv("WORKFLOW_API_DSN", DSN)
    monkeypatch.setenv("WORKFLOW_API_KAFKA", "127.0.0.1:1")
    monkeypatch.setenv("GRAFANA_TOKEN", "x")
    return Target(world, "workflow-api", "v2", dsn=DSN, root=tmp_path, release_dir=tmp_path / "v2")


def covering(row: str, phase: str, *kinds: str) -> list[Check]:
    """Return the checks of a phase that cover a row, of some kinds or of any."""
    found = [check for of, check in FILE.checks.every() if of == phase and row in check.covers]
    return [check for check in found if not kinds or check.kind in kinds]


def outcomes(checks: list[Check], target: Target) -> list[Outcome]:
    seen = [measure(check, target) for check in checks]
    for one in seen:
        print(f"{one.check}: {one.outcome}: {one.reading.seen}")  # noqa: T201 - shown when a test fails
    return [one.outcome for one in seen]


@pytest.mark.parametrize(
    ("row", "change"),
    [
        ("WA-020", {"DATABASE_URL": "mysql://u:p@db/x"}),
        ("WA-021", {"DATABASE_URL": "workflow_db"}),
        ("WA-024", {"DATABASE_URL": DSN.partition("?")[0]}),
        ("WA-031", {"DATABASE_URL": DSN.replace(PASSWORD, "password")}),
        ("WA-022", {"KAFKA_BROKERS": "kafka"}),
        ("WA-026", {"JWT_SECRET": "changeme"}),
        ("WA-027", {"JWT_SECRET": "s" * 31}),
        ("WA-028", {"JWT_SECRET": "development-" + "d" * 32}),
        ("WA-029", {"CORS_ORIGINS": "*"}),
        ("WA-029", {"CORS_ORIGINS": "https://a.example.com,http://localhost:3000"}),
        ("WA-030", {"API_RELOAD": "true"}),
        ("WA-038", {"LOG_LEVEL": "DEBUG"}),
        ("WA-039", {"LOG_FORMAT": "text"}),
        ("WA-011", {"KAFKA_BROKERS": ""}),
        ("WA-094", {"NOT_DOCUMENTED": "1"}),
        ("WA-010", None),
    ],
)
def test_what_the_environment_lacks_is_found_before_anything_is_touched(target, row, change):
    checks = covering(row, "preflight", "environment", "env_file")
    assert outcomes(checks, target) == [P] * len(checks) != []
    path = target.root / "env" / ".env.api.production"
    path.unlink()
    if change is not None:
        write_environment(path, DSN, SECRET, 9092)
        path.write_text("".join(f"{name}={value}\n" for name, value in (values_of(path) | change).items()))
    assert F in outcomes(checks, target)


def values_of(path: Path) -> dict[str, str]:
    return dict(line.split("=", 1) for line in path.read_text().splitlines())


@pytest.mark.parametrize(
    ("row", "change"),
    [
        ("WA-033", {"API_WORKERS": "1000"}),
        ("WA-034", {"DATABASE_POOL_SIZE": "3"}),
        ("WA-035", {"DATABASE_MAX_OVERFLOW": "5"}),
        # As recommended for four processors.
        ("WA-034", {"API_WORKERS": "9", "DATABASE_POOL_SIZE": "18", "DATABASE_MAX_OVERFLOW": "36"}),
    ],
)
def test_workers_and_pools_that_do_not_fit_are_found(target, database, row, change):
    checks = covering(row, "preflight", "capacity")
    assert outcomes(checks, target.at(dsn=database)) == [P]
    path = target.root / "env" / ".env.api.production"
    path.write_text("".join(f"{name}={value}\n" for name, value in (values_of(path) | change).items()))
    assert outcomes(checks, target.at(dsn=database)) == [F]


@pytest.mark.parametrize(
    ("row", "file", "good", "bad"),
    [
        ("WA-036", "docker-compose.yml", 'cpus: "2", ', ""),
        ("WA-037", "docker-compose.yml", ", memory: 512M", ""),
        ("WA-040", "docker-compose.yml", "max-size: 10m, ", ""),
        ("WA-088", "docker-compose.yml", "  network_mode: host\n  user", '  ports: ["8000:8000"]\n  user'),
        ("WA-059", "docker-compose.yml", "    healthcheck:\n      test: [CMD", "    x-was:\n      test: [CMD"),
        ("WA-032", "service/settings.py", '"""', f'"""\nAWS_SECRET_ACCESS_KEY = "{"aB3/" * 10}"\n'),
        ("WA-032", ".env.api", None, "JWT_SECRET=x\n"),
        ("WA-044", ".golive-build.log", None, "Step 1/6\n[Warning] unused argument\nSuccessfully built 1\n"),
        ("WA-043", ".golive-build.log", None, "Step 1/6\nERROR: no such file\n"),
        ("WA-095", "DEPLOYMENT.md", "`golive release workflow-api VERSION`", "make it so"),
        ("WA-124", "DEPLOYMENT.md", "", None),
        ("WA-125", "DEPLOYMENT.md", "## Troubleshooting", "## Questions"),
        ("WA-096", "docs/RUNBOOK.md", "golive rollback", "pray"),
        ("WA-097", "docs/RUNBOOK.md", "## Contact", "## People"),
    ],
)
def test_what_the_release_lacks_is_found_before_anything_is_touched(target, row, file, good, bad):
    if file == "docker-compose.yml":
        require_generation("v2")
    log = target.release_dir / ".golive-build.log"
    log.write_text("Step 1/6 : ARG BASE\nSuccessfully built 0123\nSuccessfully tagged workflow-api:v2\n")
    checks = covering(row, "preflight", "compose_config", "secrets_scan", "file", "document")
    assert outcomes(checks, target) == [P] * len(checks) != []
    broken = target.release_dir / file
    if good is None:
        broken.write_text(bad)
    elif bad is None:
        broken.unlink()
    else:
        assert good in broken.read_text()
        broken.write_text(broken.read_text().replace(good, bad, 1))
    assert F in outcomes(checks, target)


def test_a_certificate_that_is_not_the_balancers_is_found(target, tmp_path):
    from tests.certificates import Authority

    (check,) = covering("WA-016", "preflight", "certificate")
    (tmp_path / "tls").mkdir()
    assert check.look(target).outcome is F
    for name, outcome in (("workflow.example.com", P), ("other.example.com", F)):
        issued = Authority(tmp_path / "tls").issue(name)
        shutil.copy(issued.cert, tmp_path / "tls" / "fullchain.pem")
        shutil.copy(issued.key, tmp_path / "tls" / "privkey.pem")
        assert check.look(target).outcome is outcome


def test_a_database_without_tls_and_a_kafka_that_is_away_are_found(target, database):
    at = target.at(dsn=database)
    assert set(outcomes(covering("WA-013", "preflight"), at)) == {F}
    assert outcomes(covering("WA-004", "preflight"), at) == [F]


# -- in service -----------------------------------------------------------------------------------------------------


@contextmanager
def running(tree: Path, dsn: str, brokers: str, log: Path, **fault: str) -> Iterator[str]:
    """Run a version's API and its executor as their containers do, and give the API's address."""
    port = free_port()
    env = {
        "PATH": os.environ["PATH"], "PYTHONPATH": str(tree), "DATABASE_URL": dsn, "KAFKA_BROKERS": brokers,
        "JWT_SECRET": SECRET, "CORS_ORIGINS": "https://workflow.example.com", "PORT": str(port), "LOG_FORMAT": "json",
        **fault,
    }  # fmt: skip
    with log.open("wb") as file:
        commands = [[sys.executable, "-m", name] for name in ("service", "service.executor")]
        processes = [subprocess.Popen(argv, cwd=tree, env=env, stdout=file, stderr=file) for argv in commands]
    url = f"http://127.0.0.1:{port}"
    try:
        end = time.monotonic() + 60
        while True:
            try:
                httpx.get(f"{url}/health", trust_env=False)
                break
            except httpx.TransportError:
                assert time.monotonic() < end, log.read_text()
                assert processes[0].poll() is None, log.read_text()
                time.sleep(0.1)
        yield url
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@pytest.fixture
def served(target: Target, database: str) -> Iterator[tuple[Target, str]]:
    """The target on a database of version 2 with few rows, and a Kafka."""
    data.create(database, runs=100)
    with psycopg.connect(database) as conn:
        conn.execute("ALTER TABLE workflow_runs ADD priority integer NOT NULL DEFAULT 0")
    with kafka(TOPIC, brokers=1) as brokers:
        yield target.at(dsn=database), brokers


IN_SERVICE = {
    "the API is ready, with its database and Kafka", "agents can be listed", "runs can be listed",
    "an agent and a workflow can be created", "Swagger UI is there", "ReDoc is there",
    "the API is what its documentation says", "a workflow can be executed, and its run is published to Kafka",
    "the executor takes a run and completes it", "every completed run is in the audit log",
    "nobody without a token gets in", "nobody with a forged token gets in", "the site may call the API from a browser",
    "another site may not", "metrics are told, and runs are counted", "no run waits for longer than a minute",
    "no request has waited in vain for a connection", "every run has its workflow, and every workflow its agent",
}  # fmt: skip


def looks(target: Target, names: set[str]) -> dict[str, Outcome]:
    """Look, with little patience for what will not come; the metrics last, once there is something to count."""
    late = {"metrics are told, and runs are counted"}
    seen = {}
    for name in (*sorted(names - late), *sorted(names & late)):
        check: Any = FILE.check(name)
        if check.kind == "scenario":
            quick = [step.model_copy(update={"within": min(step.within, 15.0)}) for step in check.steps]
            check = check.model_copy(update={"steps": tuple(quick)})
        seen[name] = check.look(target)
        print(f"{name}: {seen[name].outcome}: {seen[name].seen}")  # noqa: T201 - shown when a test fails
    return {name: reading.outcome for name, reading in seen.items()}


def test_the_sound_version_passes(served, tmp_path):
    target, brokers = served
    with running(target.release_dir, target.dsn, brokers, tmp_path / "log") as url:
        assert set(looks(target.at(base_url=url), IN_SERVICE).values()) == {P}
        lag: Any = FILE.check("the executor keeps up with what is published")
        assert lag.model_copy(update={"brokers": brokers}).look(target).outcome is P
    lines = (tmp_path / "log").read_text().splitlines()
    assert lines
    assert all(json.loads(line)["level"] == "INFO" for line in lines)
    assert not [line for line in lines if SECRET in line or "eyJ" in line]


EDITS = {
    "service/api.py": [
        ('version="1")', 'version="1", docs_url=None, redoc_url=None)'),
        ("    if not who:", "    who = who or 'anybody'\n    if not who:"),
        ("allow_origins=settings.cors_origins", 'allow_origins=["*"]'),
        ("REQUESTS.labels(answer.status_code).inc()", "pass"),
    ],
    "service/routes.py": [
        ('audit(conn, request.state.caller, "workflow.created", row["id"])', "pass"),
        (
            '@router.delete("/agents/{agent_id}", status_code=204)',
            '@router.delete("/agents/{agent_id}", status_code=200)',
        ),
    ],
}
BROKEN = {
    "Swagger UI is there", "ReDoc is there", "nobody without a token gets in", "nobody with a forged token gets in",
    "another site may not", "an agent and a workflow can be created", "the API is what its documentation says",
    "a workflow can be executed, and its run is published to Kafka", "the executor takes a run and completes it",
}  # fmt: skip


def test_a_version_that_does_not_keep_its_promises_fails(served, tmp_path):
    target, brokers = served
    for file, edits in EDITS.items():
        path = target.release_dir / file
        for good, bad in edits:
            assert good in path.read_text()
            path.write_text(path.read_text().replace(good, bad))
    faults = {"FAULT": "unpublished"}
    with running(target.release_dir, target.dsn, brokers, tmp_path / "log", **faults) as url:
        at = target.at(base_url=url)
        waiting: Any = FILE.check("the executor takes a run and completes it")
        quick = tuple(step.model_copy(update={"within": min(step.within, 1.0)}) for step in waiting.steps)
        assert waiting.model_copy(update={"steps": quick}).look(at).outcome is F
        assert set(looks(at, BROKEN - {waiting.name}).values()) == {F}
        # What is counted is not there at all, which says nothing.
        assert looks(at, {"metrics are told, and runs are counted"}) != {"metrics are told, and runs are counted": P}
    with psycopg.connect(target.dsn) as conn:
        conn.execute("DELETE FROM audit_log")
        conn.execute("ALTER TABLE workflow_runs DROP CONSTRAINT workflow_runs_workflow_id_fkey")
        conn.execute("DELETE FROM workflows")
        conn.execute(
            "INSERT INTO workflow_runs (workflow_id, input, created_at) "
            "VALUES (gen_random_uuid(), '{}', now() - interval '2 min')"
        )
    rows = {
        "every completed run is in the audit log", "every run has its workflow, and every workflow its agent",
        "no run waits for longer than a minute",
    }  # fmt: skip
    assert set(looks(target, rows).values()) == {F}


def test_what_is_away_is_never_well(target):
    """Nothing listens where the checks look, neither the API nor what watches it."""
    away = f"http://127.0.0.1:{free_port()}"
    kinds = {"prometheus", "prometheus_targets", "prometheus_rules", "alert_delivery", "grafana", "metrics", "openapi"}
    seen = []
    for _, check in FILE.checks.every():
        if check.kind in kinds:
            of: Any = check.model_copy(update={"url": away, "control": None, "timeout": 5.0})
            seen.append(measure(of, target.at(base_url=away)).outcome)
    assert len(seen) == 8
    assert P not in seen


def test_what_has_no_data_is_unknown(target):
    at = target.at(base_url="http://127.0.0.1:1")
    stats = [check for _, check in FILE.checks.every() if check.kind == "container_stats"]
    assert set(outcomes(stats, at)) <= {U, F}
