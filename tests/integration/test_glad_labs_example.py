"""The Glad Labs stand-in is what its checklist describes, on a real PostgreSQL and with real processes."""

from __future__ import annotations

import os
import re
import signal
import socket
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

from examples.client import LoadClient
from examples.glad_labs import build, data

TOKEN = "ann.secret"
MIGRATION = "migrations/001_create_task_status_history.sql"
DOWN = "migrations/001_create_task_status_history.down.sql"


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> Path:
    to = tmp_path_factory.mktemp("versions")
    build.build(to)
    return to


@pytest.fixture
def old(database: str) -> str:
    data.create(database, tasks=200, events=500)
    return database


@pytest.fixture
def new(old: str, trees: Path) -> str:
    apply(old, trees / "v2" / MIGRATION)
    return old


def apply(dsn: str, script: Path) -> None:
    with psycopg.connect(dsn) as conn:
        conn.execute(script.read_bytes())


def rows(dsn: str, query: str, *values: object) -> list[tuple[Any, ...]]:
    with psycopg.connect(dsn, autocommit=True) as conn:
        return conn.execute(query.encode(), values).fetchall()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running(tree: Path, dsn: str, **env: str) -> Iterator[httpx.Client]:
    """Run a version as a deployment would, and give a client of it; it must end well on SIGTERM."""
    port = free_port()
    argv = [sys.executable, "-m", "uvicorn", "app:app", "--host", "127.0.0.1", "--port", str(port)]
    full = {**os.environ, "DATABASE_URL": dsn, "GLAD_LABS_TOKEN": TOKEN, **env}
    process = subprocess.Popen(argv, cwd=tree, env=full, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    headers = {"Authorization": f"Bearer {TOKEN}"}
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=10, trust_env=False) as api:
            deadline = time.monotonic() + 20
            while True:
                try:
                    api.get("/health")
                    break
                except httpx.ConnectError:
                    assert process.poll() is None, "the service ended at once"
                    assert time.monotonic() < deadline, "the service did not start"
                    time.sleep(0.05)
            yield api
        process.send_signal(signal.SIGTERM)
        # Uvicorn 0.29 and later end by the signal itself, once all is shut down.
        assert process.wait(10) in {0, -signal.SIGTERM}
    finally:
        process.kill()
        process.wait()


def smoke(tree: Path, script: str, api: httpx.Client) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "GLAD_LABS_TOKEN": TOKEN}
    argv = [sys.executable, script, "--url", str(api.base_url)]
    return subprocess.run(argv, cwd=tree, env=env, capture_output=True, text=True, timeout=60, check=False)


def task(api: httpx.Client) -> str:
    answer = api.post("/api/tasks", json={"title": "a task"})
    assert answer.status_code == 201
    return f"/api/tasks/{answer.json()['id']}"


@pytest.mark.parametrize(("version", "tests"), [("v1", 7), ("v2", 37), ("v3", 37)])
def test_a_version_tree_passes_its_own_tests(trees, version, tests):
    argv = [sys.executable, "-m", "unittest", "discover", "-s", "tests"]
    done = subprocess.run(argv, cwd=trees / version, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert f"Ran {tests} tests" in done.stderr


def test_building_again_replaces_a_tree(trees, tmp_path):
    build.build(tmp_path, ["v1"])
    (tmp_path / "v1" / "left_over.py").touch()
    build.build(tmp_path, ["v1"])
    assert [path.name for path in tmp_path.iterdir()] == ["v1"]
    assert not (tmp_path / "v1" / "left_over.py").exists()
    assert not (tmp_path / "v1" / "migrations").exists()


def test_an_unknown_version_is_not_built(tmp_path):
    with pytest.raises(ValueError, match="v9"):
        build.build(tmp_path, ["v9"])


def test_the_documentation_holds_what_the_checklist_asks_for(trees):
    docs = {path.stem: path.read_text() for path in (trees / "v2" / "docs").iterdir()}
    for endpoint in ("status/validated", "status-history", "status-history/failures"):
        assert endpoint in docs["implementation_guide"]
        assert endpoint in docs["api_examples"]
    code = re.search(r"```python\n(.*?)```", docs["api_examples"], re.DOTALL)
    assert code
    compile(code[1], "api_examples.md", "exec")
    assert "curl " in docs["api_examples"]
    for issue in ("Task not found", "Invalid transition", "Slow audit trail queries", "Metadata not preserved"):
        assert issue in docs["troubleshooting"]
    named = re.findall(r"`(tests/\w+\.py)`", docs["implementation_guide"])
    assert named
    assert all((trees / "v2" / name).exists() for name in named)


@pytest.mark.parametrize("schema", ["old", "new"])
def test_v1_works_on_its_own_schema_and_on_the_next(trees, request, schema):
    with running(trees / "v1", request.getfixturevalue(schema)) as api:
        health = api.get("/health")
        assert health.json() == {"status": "ok", "version": "v1", "services": {"database": "ok"}}
        assert health.headers["x-version"] == "v1"
        done = smoke(trees / "v1", "smoke.py", api)
        assert done.returncode == 0, done.stderr
        assert api.get(f"/api/tasks/{data.KNOWN_TASK}/status-history").status_code == 404


def test_v2_starts_on_the_old_schema_and_does_what_v1_did(trees, old):
    with running(trees / "v2", old) as api:
        assert api.get("/health").json()["status"] == "ok"
        done = smoke(trees / "v1", "smoke.py", api)
        assert done.returncode == 0, done.stderr
        path = task(api)
        for name in ("status-history", "status-history/failures"):
            assert api.get(f"{path}/{name}").status_code == 503
        assert api.put(f"{path}/status/validated", json={"status": "in_progress"}).status_code == 503
        assert api.get(path).json()["status"] == "pending"


def test_v2_audits_each_change_on_the_new_schema(trees, new):
    with running(trees / "v2", new) as api:
        done = smoke(trees / "v2", "smoke_audit.py", api)
        assert done.returncode == 0, done.stderr
        path = task(api)
        metadata = {"deep": {"ä": [1, None]}, "quote": "'\"\\"}
        api.put(f"{path}/status", json={"status": "in_progress"})
        api.put(f"{path}/status/validated", json={"status": "on_hold", "reason": "lunch", "metadata": metadata})
        refused = api.put(f"{path}/status/validated", json={"status": "published"})
        assert refused.status_code == 409
        assert "Invalid transition from 'on_hold' to 'published'" in refused.json()["detail"]
        assert api.get(path).json()["status"] == "on_hold"
        trail = api.get(f"{path}/status-history").json()["entries"]
        assert [entry["new_status"] for entry in trail] == ["validation_failed", "on_hold", "in_progress"]
        assert {entry["changed_by"] for entry in trail} == {"ann"}
        assert (trail[1]["metadata"], trail[1]["reason"]) == (metadata, "lunch")
        assert [e["id"] for e in api.get(f"{path}/status-history/failures").json()["entries"]] == [trail[0]["id"]]
    assert rows(new, "SELECT DISTINCT jsonb_typeof(metadata) FROM task_status_history") == [("object",)]
    assert rows(new, "SELECT count(*) FROM task_status_history WHERE timestamp > clock_timestamp()") == [(0,)]


def test_v2_answers_wrong_requests_with_a_reason_and_never_with_a_500(trees, new):
    nobody = "/api/tasks/00000000-0000-4000-8000-000000000000"
    with running(trees / "v2", new) as api:
        path = task(api)
        assert api.get("/api/tasks", headers={"Authorization": "Bearer wrong"}).status_code == 401
        assert api.get("/api/tasks/test/status-history").status_code == 422
        assert api.put(f"{path}/status", json={"status": "done"}).status_code == 422
        assert api.put(f"{path}/status/validated", content=b"{").status_code == 422
        for answer in (
            api.get(nobody),
            api.get(f"{nobody}/status-history"),
            api.put(f"{nobody}/status", json={"status": "failed"}),
            api.put(f"{nobody}/status/validated", json={"status": "failed"}),
            api.delete(nobody),
        ):
            assert (answer.status_code, answer.json()["detail"]) == (404, "Task not found")


def test_v2_offers_all_that_v1_offered(trees, new):
    with running(trees / "v1", new) as api:
        before = api.get("/openapi.json").json()
    with running(trees / "v2", new) as api:
        after = api.get("/openapi.json").json()
    assert before["paths"].items() <= after["paths"].items()
    assert before["components"]["schemas"].items() <= after["components"]["schemas"].items()
    assert len(set(after["paths"]) - set(before["paths"])) == 3


def test_v3_answers_well_at_first_and_then_fails_a_third(trees, new):
    with running(trees / "v3", new, GLAD_V3_HEALTHY_FOR="3") as api:
        first = [api.get("/api/tasks?limit=1").status_code for _ in range(100)]
        assert first == [200] * 100
        time.sleep(3)
        seen = [api.get("/api/tasks?limit=1").status_code for _ in range(400)]
        assert set(seen) == {200, 500}
        assert 0.2 < seen.count(500) / 400 < 0.4
        assert {api.get("/health").status_code for _ in range(50)} == {200}


def test_a_fault_can_be_switched_on_in_any_version(trees, old):
    with running(trees / "v1", old, FAIL_SHARE="1", FAIL_DELAY="0.2") as api:
        answer = api.get("/api/tasks")
        assert (answer.status_code, answer.headers["x-version"]) == (500, "v1")
        assert answer.elapsed.total_seconds() >= 0.2


def test_the_migration_may_be_repeated_and_taken_back(trees, old):
    def schema() -> list[tuple[Any, ...]]:
        return rows(
            old,
            "SELECT c.relname::text, pg_get_indexdef(c.oid) FROM pg_class c WHERE relnamespace = 'public'::regnamespace"
            " AND relkind IN ('r', 'i', 'S') ORDER BY 1",
        )

    before = schema()
    apply(old, trees / "v2" / MIGRATION)
    after = schema()
    apply(old, trees / "v2" / MIGRATION)
    assert schema() == after != before
    assert rows(old, "SELECT confdeltype FROM pg_constraint WHERE conrelid = 'task_status_history'::regclass "
                     "AND contype = 'f'") == [("c",)]  # fmt: skip
    apply(old, trees / "v2" / DOWN)
    assert schema() == before


def test_health_tells_of_a_database_that_is_away(trees):
    with running(trees / "v1", f"postgresql://nobody@127.0.0.1:{free_port()}/none") as api:
        health = api.get("/health")
        assert (health.status_code, health.json()["services"]) == (503, {"database": "unreachable"})
        assert api.get("/api/tasks").status_code == 503


def test_connections_that_the_server_dropped_are_not_used_again(trees, old):
    with running(trees / "v1", old) as api:
        assert api.get("/api/tasks").status_code == 200
        rows(old, "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
                  "WHERE datname = current_database() AND pid <> pg_backend_pid()")  # fmt: skip
        assert api.get("/api/tasks").status_code == 200


def test_a_version_without_its_environment_does_not_start(trees):
    env = {name: value for name, value in os.environ.items() if name not in {"DATABASE_URL", "GLAD_LABS_TOKEN"}}
    argv = [sys.executable, "-m", "uvicorn", "app:app", "--port", str(free_port())]
    done = subprocess.run(argv, cwd=trees / "v1", env=env, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode != 0
    assert "DATABASE_URL and GLAD_LABS_TOKEN must be set" in done.stderr


def test_the_background_processor_works_on_pending_tasks_and_is_audited(trees, new):
    (task_id,) = rows(new, "SELECT id FROM content_tasks WHERE status = 'pending' ORDER BY created_at LIMIT 1")[0]
    env = {**os.environ, "DATABASE_URL": new, "EXECUTOR_EVERY": "0.1"}
    process = subprocess.Popen([sys.executable, "-m", "task_executor"], cwd=trees / "v2", env=env)
    try:
        deadline = time.monotonic() + 20
        query = "SELECT old_status, new_status, changed_by FROM task_status_history WHERE task_id = %s ORDER BY id"
        while not (seen := rows(new, query, task_id)):
            assert time.monotonic() < deadline, "the background processor did nothing"
            time.sleep(0.1)
        assert [entry[:2] for entry in seen] == [("pending", "in_progress"), ("in_progress", "awaiting_approval")]
        assert {entry[2] for entry in seen} == {"task_executor"}
        process.terminate()
        assert process.wait(10) == 0
    finally:
        process.kill()
        process.wait()


def test_the_data_are_many_the_same_each_time_and_written_once(trees, database):
    written = data.create(database)
    assert (written.tasks, written.events) == (20_000, 100_000)
    assert rows(database, "SELECT count(*), count(DISTINCT task_id) FROM task_events") == [(100_000, 20_000)]
    digest = "SELECT md5(string_agg(id::text || title || status || metadata, '' ORDER BY id)) FROM content_tasks"
    before = rows(database, digest)
    assert data.create(database).tasks == 0
    with psycopg.connect(database) as conn:
        conn.execute("DROP TABLE task_events, content_tasks")
    data.create(database)
    assert rows(database, digest) == before


def test_a_big_audit_trail_is_sound_and_read_by_its_index(trees, new):
    assert data.fill_history(new, rows=100_000).history == 100_000
    totals = "SELECT count(*), max(timestamp) < now(), count(*) FILTER (WHERE new_status = 'validation_failed') FROM "
    ((count, past, refused),) = rows(new, totals + "task_status_history")
    assert (count, past) == (100_000, True)
    assert refused / count < 0.05
    ((size,),) = rows(new, "SELECT pg_total_relation_size('task_status_history') / 100000.0")
    assert 400 < size < 600
    query = f"SELECT * FROM task_status_history WHERE task_id = '{data.KNOWN_TASK}' ORDER BY timestamp DESC LIMIT 50"
    plan = "\n".join(row[0] for row in rows(new, f"EXPLAIN {query}"))
    assert "idx_task_status_history_task_id_timestamp" in plan
    assert len(rows(new, query)) == 50


def test_without_an_audit_trail_there_is_nothing_to_fill(old):
    assert data.fill_history(old, rows=10).history == 0


def test_a_steady_load_on_a_sound_version_loses_nothing(trees, new):
    with running(trees / "v2", new) as api:
        with LoadClient(str(api.base_url).rstrip("/"), 50, TOKEN) as client:
            time.sleep(4)
        assert client.summary["failed"] == 0
        assert client.summary["sent"] == client.summary["versions"]["v2"]["ok"] > 50
