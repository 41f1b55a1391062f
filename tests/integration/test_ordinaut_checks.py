"""What ordinaut's release file checks passes on the sound version 2, and fails on one in which it is broken."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from examples.ordinaut import data
from examples.ordinaut.build import build
from examples.ordinaut.v1.engine import tokens
from tasks.checking import measure
from tasks.checks import Check
from tasks.domain.checklist import BY_PROGRAM, Way, by_program, counts, coverage
from tasks.domain.outcome import Outcome
from tasks.domain.ports import World
from tasks.domain.target import Target
from tasks.spec import loading
from tasks.spec.checklist import claims_of
from tests.looks import F, P, U
from tests.monitoring import redis
from tests.services import free_port
from tests.spoiling import change, spoil

PATH = Path(__file__).parents[2] / "deployments" / "systems" / "ordinaut" / "release.yaml"
FILE = loading.load(PATH)
KEY = "a-key-of-the-tests-alone-0123456789"


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> Path:
    to = tmp_path_factory.mktemp("versions")
    build(to)
    return to


@pytest.fixture
def target(world: World, trees: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Target:
    """Version 2 in a tree that the test may spoil; there is neither a database nor anything that runs."""
    monkeypatch.setenv("ORDINAUT_TOKEN", tokens.issue("system", KEY))
    monkeypatch.setenv("ORDINAUT_JWT_SECRET_KEY", KEY)
    monkeypatch.setenv("ORDINAUT_REDIS", "redis://127.0.0.1:6379/0")
    tree = tmp_path / "v2"
    shutil.copytree(trees / "v2", tree)
    return Target(world, "ordinaut", "v2", dsn="postgresql://u:p@127.0.0.1:1/d", root=tmp_path, release_dir=tree)


@pytest.fixture
def filled(target: Target, database: str) -> Iterator[Target]:
    """The same on a migrated database with tasks, and with its role as long as the test lasts."""
    data.create(database, tasks=500)
    change(database, (target.release_dir / "migrations" / "version_0002.sql").read_text())
    yield target.at(dsn=database)
    change(database, "DROP OWNED BY ordinaut", "DROP ROLE ordinaut")


def looks(target: Target, *names: str) -> dict[str, Outcome]:
    seen = {name: FILE.check(name).look(target) for name in names}
    for name, one in seen.items():
        print(f"{name}: {one.outcome}: {one.seen}")  # noqa: T201 - shown when a test fails
    return {name: one.outcome for name, one in seen.items()}


def covering(*ids: str) -> list[Check]:
    return [check for _, check in FILE.checks.every() if set(ids) & set(check.covers)]


def test_nine_in_ten_rows_that_a_program_can_decide_are_automated():
    rows = coverage(loading.load_checklist(PATH), claims_of(FILE))
    assert counts(rows) == {Way.AUTOMATED: 192, Way.SIGNED: 19, Way.WAIVED: 4, Way.OPEN: 0}
    assert by_program(rows) == (171, 172)
    assert {one.row.nature for one in rows if one.way is Way.SIGNED}.isdisjoint(BY_PROGRAM)


def test_the_five_triggers_of_the_document_are_there():
    kinds: dict[str, Any] = {one.kind: one for one in FILE.rollback.when}
    assert set(kinds) == {"down", "errors", "slower", "corruption"}  # the fifth is a person's button
    assert (kinds["down"].for_, kinds["errors"].above, kinds["slower"].than) == (600.0, 0.2, 0.5)
    assert (FILE.watch.every, FILE.watch.for_) == (3600.0, 24 * 3600.0)


@pytest.mark.parametrize(
    ("row", "file", "good", "bad"),
    [
        ("OR-018", "tests/integration/test_task_runs.py", "== 1", "== 2"),
        ("OR-020", "tests/load/test_comprehensive_performance.py", "{201}", "{200}"),
        ("OR-021", "tests/chaos/test_parts_away.py", "== 503", "== 200"),
        ("OR-022", "api/app.py", "return 201,", "return 200,"),
        ("OR-026", "api/app.py", "_LARGEST = 100_000", "AWS = 'AKIA" + "IOSFODNN7EXAMPLF'"),
        ("OR-027", "ops/docker-compose.yml", "JWT_SECRET_KEY: ${JWT_SECRET_KEY}", "JWT_KEY: x"),
        ("OR-061", "ops/docker-compose.yml", "services:", "servicess:"),
        ("OR-062", "ops/docker-compose.yml", "${RATE_LIMIT_PER_MINUTE:-6000}", "${RATE_LIMIT}"),
        ("OR-083", "ops/docker-compose.yml", ":-6000}", ":-0}"),
        ("OR-111", "ops/DISASTER_RECOVERY.md", "", None),
        ("OR-112", "ops/INCIDENT_RESPONSE.md", "# Incident response", "# Words"),
        ("OR-113", "ops/PRODUCTION_RUNBOOK.md", "## Roll back", "## Words"),
        ("OR-114", "ops/MONITORING_PLAYBOOK.md", "NoWorkers", "Workers"),
        ("OR-115", "ops/BACKUP_PROCEDURES.md", "daily_backup.sh", "backup.sh"),
        ("OR-125", "ops/INCIDENT_RESPONSE.md", "Bo Lindqvist, +49 30 5550 102", "[FILL IN]"),
    ],
)
def test_what_the_release_lacks_is_found_before_it_begins(target, row, file, good, bad):
    checks = [check for check in covering(row) if check in FILE.checks.preflight]
    assert checks  # that each of them passes on the sound version is seen by the release of it
    spoil(target.release_dir / file, good, bad)
    assert F in [check.look(target).outcome for check in checks]


@pytest.mark.parametrize(
    ("row", "path"),
    [("OR-028", "api/app.py"), ("OR-029", "ops/docker-compose.yml"), ("OR-088", "ops/docker-compose.yml"),
     ("OR-089", "migrations/version_0002.sql")],
)  # fmt: skip
def test_a_file_that_everybody_can_change_is_found(target, row, path):
    (check,) = covering(row)
    assert check.look(target).outcome is P
    (target.release_dir / path).chmod(0o666)
    assert check.look(target).outcome is F


BROKEN = {
    "nobody else may log in to the database": "CREATE ROLE ordinaut_test_guest LOGIN",
    "not everybody may connect to the database": "DO $$ BEGIN EXECUTE format('GRANT CONNECT ON DATABASE %I TO PUBLIC',"
    " current_database()); END $$",
    "PostgreSQL is configured for its work": "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET work_mem = ''64kB''',"
    " current_database()); END $$",
    "the audit log goes back as far as the oldest task": "DELETE FROM audit_log WHERE at < now() - interval '1 hour'",
    "the audit log tells of each action": "UPDATE audit_log SET action = 'test_action' WHERE id % 2 = 0",
    "no audit entry lies in the future": "UPDATE audit_log SET at = now() + interval '1 day'",
    "no warning that 10 to 1,000 tasks wait": "INSERT INTO due_work (task_id, run_at) SELECT id, now() - interval "
    "'1 hour' FROM task LIMIT 20",
    "the workers keep up": "",
    "no task has waited long": "",
    "the system's agent is there": "UPDATE agent SET name = 'nobody' WHERE name = 'system'",
    "every task has its agent": "ALTER TABLE task DROP CONSTRAINT task_created_by_fkey;"
    "UPDATE task SET created_by = gen_random_uuid() WHERE title = 'Task 7'",
    "no task has lost its agent": "",
    "every run has its task": "ALTER TABLE task_run DROP CONSTRAINT task_run_task_id_fkey;"
    "UPDATE task_run SET task_id = gen_random_uuid() WHERE id = 7",
    "no run has lost its task": "",
    "all work that is due has its task": "ALTER TABLE due_work DROP CONSTRAINT due_work_task_id_fkey;"
    "INSERT INTO due_work (task_id, run_at) VALUES (gen_random_uuid(), now())",
    "less than 1 % of the tasks fail": "UPDATE task_run SET error = 'no answer' WHERE id % 20 = 0",
    "tasks have a priority": "ALTER TABLE task DROP COLUMN priority",
    "the queue is indexed by priority": "DROP INDEX due_work_priority",
}
"""What is broken by what; where nothing stands, by what is broken before it."""


def test_what_is_wrong_in_the_database_is_found(filled):
    # The server of the tests has owners of its own, and other tests their roles.
    ours = {"nobody else may log in to the database"}
    assert set(looks(filled, *(BROKEN.keys() - ours)).values()) == {P}
    try:
        for statements in filter(None, BROKEN.values()):
            change(filled.dsn, *([statements] if "DO $$" in statements else statements.split(";")))
        assert set(looks(filled, *BROKEN).values()) == {F}
    finally:
        change(filled.dsn, "DROP ROLE IF EXISTS ordinaut_test_guest")
    crowd = "no alert that more than 1,000 tasks wait"
    assert looks(filled, crowd) == {crowd: P}
    change(filled.dsn, "INSERT INTO due_work (task_id, run_at) SELECT id, now() FROM task, generate_series(1, 3)")
    assert looks(filled, crowd) == {crowd: F}
    change(filled.dsn, "TRUNCATE agent CASCADE")
    assert looks(filled, "there are agents") == {"there are agents": F}


@contextmanager
def serving(target: Target, *programs: str, **more: str) -> Iterator[Target]:
    """Run the version's own programs on the database, as its containers do, and give the target with its address."""
    port = free_port()
    environment = {
        **os.environ, "PORT": str(port), "DATABASE_URL": target.dsn, "JWT_SECRET_KEY": KEY,
        "RATE_LIMIT_PER_MINUTE": "6000", "PYTHONPATH": "", **more,
    }  # fmt: skip
    with ExitStack() as stack:
        for program in programs:
            process = subprocess.Popen(
                [sys.executable, "-m", program], cwd=target.release_dir, env=environment, stderr=subprocess.DEVNULL
            )
            stack.callback(process.wait, 10)
            stack.callback(process.terminate)
        url, end = f"http://127.0.0.1:{port}", time.monotonic() + 30
        while True:
            try:
                httpx.get(f"{url}/health", timeout=10.0, trust_env=False)
                break
            except httpx.ConnectError:
                assert time.monotonic() < end, "the API does not start"
                time.sleep(0.05)
        yield target.at(base_url=url)


HEALTHY = "the service and all its parts are healthy"
AUDITED = "a task is kept, told of, audited and removed"
NOBODY = "nobody without a token is told of tasks"
RATE = "fifty tasks are accepted and finished at more than 100 a minute"
REDIS = "Redis listens and keeps what it is given"
OPEN = ("few connections to the API are open", "the services have few sessions at the database")
ANSWERS = "API answers"


def test_what_serves_is_checked_from_outside(filled, tmp_path, monkeypatch):
    (tmp_path / "redis").mkdir()
    with redis(tmp_path / "redis") as port:
        url = f"redis://127.0.0.1:{port}/0"
        monkeypatch.setenv("ORDINAUT_REDIS", url)
        with serving(filled, "api", "scheduler", "workers", REDIS_URL=url) as sound:
            assert set(looks(sound, HEALTHY, AUDITED, NOBODY, RATE, REDIS, *OPEN, ANSWERS).values()) == {P}
            change(filled.dsn, "ALTER TABLE audit_log RENAME TO audit_old")
            assert looks(sound, AUDITED, RATE) == {AUDITED: F, RATE: F}
    # Redis is away by now, which the API survives and tells of.
    app = filled.release_dir / "api" / "app.py"
    app.write_text(app.read_text().replace('raise Refused(401, "a valid bearer', 'return str("a valid bearer'))
    with serving(filled, "api", REDIS_URL=url) as broken:
        assert looks(broken, HEALTHY, NOBODY, ANSWERS) == {HEALTHY: F, NOBODY: F, ANSWERS: P}


def test_v3_shows_no_list_once_there_is_a_recurring_task_and_stays_healthy(filled, trees, tmp_path):
    (tmp_path / "redis").mkdir()
    with redis(tmp_path / "redis") as port:
        third = filled.at(release_dir=trees / "v3")
        with serving(third, "api", REDIS_URL=f"redis://127.0.0.1:{port}/0") as third:
            assert looks(third, HEALTHY, ANSWERS) == {HEALTHY: P, ANSWERS: P}
            every = "INSERT INTO task (title, schedule_kind, schedule_expr, payload, created_by) SELECT 'each hour', "
            change(filled.dsn, every + "'every', '1h', '{}', id FROM agent LIMIT 1")
            assert looks(third, HEALTHY, ANSWERS) == {HEALTHY: P, ANSWERS: F}


@pytest.mark.parametrize(
    "name",
    [
        "Prometheus reaches every target",
        "Prometheus has the rules of the alerts",
        "at most 20 % of the requests fail",
        "no critical alert has fired",
        "there are agents",
    ],
)
def test_what_cannot_be_asked_is_unknown(target, name):
    check = FILE.check(name)
    if getattr(check, "url", ""):
        check = check.model_copy(update={"url": f"http://127.0.0.1:{free_port()}"})
    assert measure(check, target).outcome is U


def test_what_the_machine_lacks_is_found(target, tmp_path):
    installed = tmp_path / "daily_backup.sh"
    check = FILE.check("the script of the backup is installed").model_copy(update={"files": (str(installed),)})
    assert check.look(target).outcome is F
    installed.write_text("#!/bin/sh\n")
    installed.chmod(0o644)
    assert check.look(target).outcome is F
    installed.chmod(0o755)
    assert check.look(target).outcome is P
    newest = FILE.check("a backup of the last day is there").model_copy(update={"files": (f"{tmp_path}/*.dump",)})
    assert newest.look(target).outcome is F
    (tmp_path / "a.dump").write_bytes(b"PGDMP")
    assert newest.look(target).outcome is P
    os.utime(tmp_path / "a.dump", (time.time() - 200_000,) * 2)
    assert newest.look(target).outcome is F
