"""What glad-labs' release file checks passes on the sound version 2, and fails on one in which it is broken."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psycopg
import pytest

from examples.glad_labs import build, data
from tasks.checking import measure
from tasks.checks import Check
from tasks.domain.checklist import BY_PROGRAM, Way, by_program, counts, coverage
from tasks.domain.outcome import Outcome
from tasks.domain.ports import World
from tasks.domain.target import Target
from tasks.spec import loading
from tasks.spec.checklist import claims_of
from tests import spoiling
from tests.integration.test_glad_labs_example import MIGRATION, TOKEN, apply, rows, running
from tests.looks import F, P, U
from tests.spoiling import spoil

PATH = Path(__file__).parents[2] / "deployments" / "systems" / "glad-labs" / "release.yaml"
FILE = loading.load(PATH)
LOG = "supervisor/log/blue-api.log"


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> Path:
    to = tmp_path_factory.mktemp("versions")
    build.build(to, ["v1", "v2"])
    return to


@pytest.fixture
def target(world: World, database: str, trees: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Target:
    """Version 2 on a migrated database with few tasks; nothing runs yet."""
    monkeypatch.setenv("GLAD_LABS_TOKEN", TOKEN)
    data.create(database, tasks=2_000, events=0)
    apply(database, trees / "v2" / MIGRATION)
    (tmp_path / LOG).parent.mkdir(parents=True)
    (tmp_path / LOG).touch()
    return Target(world, "glad-labs", "v2", dsn=database, root=tmp_path, release_dir=trees / "v2")


def recording(target: Target, *names: str) -> Target:
    """Return the target with what the checks of these names record before a release."""
    found: dict[str, Mapping[str, Any]] = {}
    for name in names:
        found[name] = FILE.check(name).record(target)  # type: ignore[attr-defined]
    return target.at(baseline={**target.baseline, **found})


def looks(target: Target, *names: str) -> dict[str, Outcome]:
    seen = {name: FILE.check(name).look(target) for name in names}
    for name, reading in seen.items():
        print(f"{name}: {reading.outcome}: {reading.seen}")  # noqa: T201 - shown when a test fails
    return {name: reading.outcome for name, reading in seen.items()}


def change(dsn: str, *statements: str) -> None:
    """Run statements, and let the server count what they read before anybody looks."""
    spoiling.change(dsn, *statements, "SELECT pg_stat_force_next_flush()")


def covering(*ids: str) -> list[Check]:
    return [check for _, check in FILE.checks.every() if set(ids) & set(check.covers)]


def test_nine_in_ten_rows_that_a_program_can_decide_are_automated():
    rows = coverage(loading.load_checklist(PATH), claims_of(FILE))
    assert counts(rows) == {Way.AUTOMATED: 120, Way.SIGNED: 8, Way.WAIVED: 5, Way.OPEN: 0}
    assert by_program(rows) == (102, 106)
    assert {one.row.nature for one in rows if one.way is Way.SIGNED}.isdisjoint(BY_PROGRAM)


def test_a_check_that_alerts_decides():
    assert all(any(not check.advisory for check in covering(row)) for row in ("GL-094", "GL-095", "GL-096", "GL-097"))


GUIDE, EXAMPLES = "docs/implementation_guide.md", "docs/api_examples.md"


@pytest.mark.parametrize(
    ("row", "file", "good", "bad"),
    [
        ("GL-004", "history.py", "return row", "breakpoint()"),
        ("GL-004", "history.py", "return row", "return (row"),
        ("GL-008", MIGRATION, "task_status_history (\n", "another_table (\n"),
        ("GL-008", MIGRATION, "", None),
        ("GL-017", GUIDE, "/status/validated`", "/status`"),
        ("GL-018", EXAMPLES, "```python", "```"),
        ("GL-019", EXAMPLES, '/status-history/failures" -H', '" -H'),
        ("GL-020", "docs/troubleshooting.md", "Slow audit trail queries", "Slowness"),
        ("GL-021", "docs/quick_reference.md", "", None),
        ("GL-022", "tests/test_status_transition_validator.py", "", None),
        ("GL-106", "docs/whats_new.md", "User attribution", "Users"),
        ("GL-112", "docs/whats_new.md", "No action required", "Stop the service"),
        ("GL-113", "docs/whats_new.md", "(implementation_guide.md)", "(new_endpoints.md)"),
        ("GL-114", "docs/whats_new.md", "one at a time", "all at once"),
        ("GL-121", "docs/quick_reference.md", "# Quick reference", "# Quick reference\n[more](more.md)"),
    ],
)
def test_what_the_release_lacks_is_found_before_it_begins(world, trees, tmp_path, row, file, good, bad):
    shutil.copytree(trees / "v2", tmp_path / "v2")
    target = Target(world, "glad-labs", "v2", root=tmp_path, release_dir=tmp_path / "v2")
    checks = [check for check in covering(row) if check in FILE.checks.preflight]
    assert [check.look(target).outcome for check in checks] == [P] * len(checks) != []
    spoil(tmp_path / "v2" / file, good, bad)
    assert F in [check.look(target).outcome for check in checks]


HEALTH = (
    "each way to change a status leaves one audit entry",
    "a task that is not there is told as such",
    "every transition is allowed or refused as task_status.py says",
    "the service's own documentation can be read",
)
TIMED = "the status of a task is updated quickly"
LOGS = ("no new error in the log", "no new warning in the log", "changes of status are in the log")
ALERTS = (
    "no alert that more than 5 % of the changes of status fail",
    "the latest audit entry of a task is its status",
    "no change of status is missing in the audit trail",
    "no alert that an index of the audit trail is not used",
)
SLOW = "no alert that the trail of a task takes more than 500 ms"
CONTRACT = "nothing that clients rely on is broken or deprecated"


def test_a_sound_version_passes_and_an_older_one_lacks_operations(target, trees):
    target = recording(target, *LOGS)
    with running(trees / "v2", target.dsn, GLAD_LABS_LOG=str(target.root / LOG)) as api:
        target = recording(target.at(base_url=str(api.base_url).rstrip("/")), CONTRACT)
        trail = "a validated change of status leaves its trail"
        assert set(looks(target, CONTRACT, trail, *HEALTH, TIMED, SLOW).values()) == {P}
        assert set(looks(target, *LOGS, *ALERTS).values()) == {P}
    assert rows(target.dsn, "SELECT count(*) FROM task_status_history") == [(0,)]
    with running(trees / "v1", target.dsn) as api:
        older = target.at(base_url=str(api.base_url).rstrip("/"))
        assert looks(older, CONTRACT, "the service's own documentation can be read")[CONTRACT] is F
    written = {LOGS[0]: "ERROR glad_labs: error: GET /api failed", LOGS[1]: "WARNING glad_labs: warning: slow"}
    for name, line in written.items():
        with (target.root / LOG).open("a") as log:
            log.writelines(f"2026-01-01 00:00:0{number},000 {line}\n" for number in range(6))
        assert looks(target, name) == {name: F}


EDITS = {
    "status_transition_validator.py": ("    if new in allowed:", "    if new:"),
    "task_routes.py": ('"Task not found"', '"Nothing here"'),
    "history.py": ("            await append(conn, task_id", "            pass  # await append(conn, task_id"),
    "content_tasks.py": ('    log.info("status of', '    log.debug("status of'),
    "service.py": ("version=version, lifespan", "version=version, docs_url=None, lifespan"),
}


def test_a_version_that_does_not_keep_its_promises_fails(target, trees, tmp_path):
    tree = tmp_path / "broken"
    shutil.copytree(trees / "v2", tree)
    for file, (good, bad) in EDITS.items():
        spoil(tree / file, good, bad)
    target = recording(target, *LOGS)
    with running(tree, target.dsn, GLAD_LABS_LOG=str(target.root / LOG), FAIL_DELAY="0.06") as api:
        target = target.at(base_url=str(api.base_url).rstrip("/"), release_dir=tree)
        api.put(f"/api/tasks/{data.KNOWN_TASK}/status", json={"status": "in_progress"})
        assert set(looks(target, *HEALTH, TIMED, LOGS[2]).values()) == {F}
        quick = FILE.check(SLOW).model_copy(update={"p50": 0.05})
        assert quick.look(target).outcome is F


def test_what_the_audit_trail_lacks_is_found(target):
    with psycopg.connect(target.dsn) as conn:
        conn.execute(
            "INSERT INTO task_status_history (task_id, new_status, timestamp) "
            "SELECT id, 'on_hold', now() - interval '5 min' FROM content_tasks, generate_series(1, 4)"
        )
        conn.execute("UPDATE content_tasks SET status = 'on_hold'")
    assert set(looks(target, *ALERTS).values()) == {P}
    with psycopg.connect(target.dsn) as conn:
        conn.execute("UPDATE task_status_history SET new_status = 'failed' WHERE id % 10 = 0")
        conn.execute("UPDATE content_tasks SET status = 'cancelled', updated_at = now()")
    assert set(looks(target, *ALERTS[:3]).values()) == {F}


PLANS = (
    "the trail of a task is read by its index",
    "the failures of all tasks are read by an index",
    "a plan can be shown",
)
SIZES = ("an audit entry takes about 500 bytes", "ten million audit entries take about 5 GB")
USAGE, GROWTH = "the indexes of the audit trail are used", "the audit trail will stay below 500 MB for a month"
AVERAGE = "tasks have at most 50 audit entries on average"


def test_what_a_small_trail_leaves_unknown_is_decided_on_a_large_one(target):
    small = recording(target, USAGE, GROWTH)
    assert set(looks(small, *PLANS, *SIZES, USAGE, GROWTH, AVERAGE).values()) == {U}
    data.fill_history(target.dsn, rows=20_000)
    assert set(looks(small, *PLANS, *SIZES).values()) == {P}
    # 20,000 entries within a second come to 500 MB before a month is over, but not before a millisecond is.
    growth = FILE.check(GROWTH).model_copy(update={"min_window": 0.0})
    assert growth.look(small).outcome is F
    assert growth.model_copy(update={"ahead": 0.001}).look(small).outcome is P
    assert looks(target, AVERAGE) == {AVERAGE: P}
    read = "DO $$ BEGIN FOR i IN 1..100 LOOP PERFORM FROM task_status_history WHERE {}; END LOOP; END $$"
    change(target.dsn, read.format("id = i"))
    assert looks(small, USAGE, ALERTS[3]) == {USAGE: F, ALERTS[3]: F}
    of_each = (f"task_id = '{data.KNOWN_TASK}'", "new_status = 'none'", "timestamp > now()")
    change(target.dsn, "SET enable_seqscan = off", *map(read.format, of_each))
    assert looks(small, USAGE, ALERTS[3]) == {USAGE: P, ALERTS[3]: P}
    change(
        target.dsn,
        f"DELETE FROM task_status_history WHERE task_id <> '{data.KNOWN_TASK}' AND id % 2 = 0",
        "ALTER TABLE task_status_history ADD wide text DEFAULT repeat('x', 500)",
        "UPDATE task_status_history SET wide = wide || 'x', "
        f"task_id = CASE WHEN id % 40 = 1 THEN task_id ELSE '{data.KNOWN_TASK}' END",
        "DROP INDEX idx_task_status_history_task_id_timestamp, idx_task_status_history_new_status, "
        "idx_task_status_history_timestamp",
    )
    assert set(looks(target, *PLANS[:2], *SIZES, AVERAGE).values()) == {F}


def test_how_long_statements_take_is_unknown_where_the_server_does_not_count_it(target, trees):
    slow = [check for check in covering("GL-084", "GL-091") if check.kind == "slow_queries"]
    assert [measure(check, target).outcome for check in slow] == [U, U]
    assert all(check.advisory for check in slow)
    source = (trees / "v2" / "history.py").read_text()
    assert all(re.search(check.pattern, source, re.IGNORECASE) for check in slow)  # type: ignore[attr-defined]
