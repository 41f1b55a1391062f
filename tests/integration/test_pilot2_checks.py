"""What pilot2's release file checks passes on the sound version 2, and fails on one in which it is broken."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from examples.pilot2 import build, data
from tasks.checking import measure_all
from tasks.checks import Check
from tasks.domain.checklist import BY_PROGRAM, Way, by_program, counts, coverage
from tasks.domain.outcome import Outcome
from tasks.domain.ports import World
from tasks.domain.target import Target
from tasks.spec import loading
from tasks.spec.checklist import claims_of
from tests.looks import F, P, U
from tests.services import free_port
from tests.spoiling import spoil
from tests.standins.pilot2 import MIGRATIONS, make_environment, variables

PATH = Path(__file__).parents[2] / "deployments" / "systems" / "pilot2" / "release.yaml"
FILE = loading.load(PATH)
ELSEWHERE = ["golive reaches the database of pilot2", "the old version is kept running beside the new one"]
"""Checks of names and ports that a test does not have."""


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> Path:
    to = tmp_path_factory.mktemp("versions")
    build.build(to, ["v2"])
    make_environment(to / "v2")
    return to


@pytest.fixture
def target(world: World, database: str, trees: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Target:
    """Version 2 on a migrated database without executions; nothing runs yet."""
    data.create(database, users=20)
    password = conninfo_to_dict(database)["password"]
    change(database, f"ALTER ROLE {data.ROLE} PASSWORD '{password}'")
    for name in ("001_current_user_id", "002_provider_credentials_and_logs"):
        change(database, (MIGRATIONS / f"{name}.sql").read_text())
    for name, value in variables(database, trees).items():
        monkeypatch.setenv(name, value)
    (tmp_path / "supervisor" / "log").mkdir(parents=True)
    (tmp_path / "supervisor" / "log" / "blue-web.log").touch()
    (tmp_path / "current").symlink_to(trees / "v2")
    return Target(world, "pilot2", "v2", dsn=database, root=tmp_path, release_dir=trees / "v2")


def change(dsn: str, *statements: str) -> None:
    with psycopg.connect(dsn) as conn:
        for statement in statements:
            conn.execute(statement.encode())


def outcomes(target: Target, checks: list[Check]) -> dict[str, Outcome]:
    seen = measure_all(checks, target)
    for one in seen:
        print(f"{one.check}: {one.outcome}: {one.reading.seen}")  # noqa: T201 - shown when a test fails
    return {one.check: one.outcome for one in seen}


def looks(target: Target, *names: str) -> set[Outcome]:
    return set(outcomes(target, [FILE.check(name) for name in names]).values())


def of(*phases: str) -> list[Check]:
    return [check for phase, check in FILE.checks.every() if phase in phases and check.name not in ELSEWHERE]


def not_(outcome: Outcome, found: dict[str, Outcome]) -> list[str]:
    return [name for name, one in found.items() if one is not outcome]


def covering(row: str) -> list[Check]:
    return [check for _, check in FILE.checks.every() if row in check.covers]


@contextmanager
def running(target: Target, **env: str) -> Iterator[Target]:
    """Run a version's tree as supervisor would, with its log where the checks look for it."""
    port, tree = free_port(), target.release_dir
    given = {"DATABASE_URL": os.environ["PILOT2_APP_DSN"], "FLASK_PORT": str(port), "FLASK_APP": "app.py"}
    full = {**os.environ, **given, "FLASK_ENV": "production", "PYTHONDONTWRITEBYTECODE": "1", **env}
    argv = [str(tree / ".venv" / "bin" / "python"), "app.py"]
    with (target.root / "supervisor" / "log" / "blue-web.log").open("ab") as log:
        process = subprocess.Popen(argv, cwd=tree / "server", env=full, stderr=log, stdout=log)
    try:
        url, deadline = f"http://127.0.0.1:{port}", time.monotonic() + 60
        while True:
            try:
                httpx.get(f"{url}/api/health", timeout=20, trust_env=False)
                break
            except httpx.TransportError:
                assert process.poll() is None, "the service ended at once"
                assert time.monotonic() < deadline, "the service did not start"
                time.sleep(0.05)
        yield target.at(base_url=url)
        process.terminate()
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()


def broken(target: Target, tmp_path: Path, *edits: tuple[str, str, str | None]) -> Target:
    """Return the target with another tree, in which a text of each file is another one, or the file is gone."""
    tree = tmp_path / "broken"
    shutil.copytree(target.release_dir, tree, symlinks=True)
    for name, good, bad in edits:
        spoil(tree / "server" / name, good, bad)
    return target.at(release_dir=tree)


def test_more_than_nine_in_ten_rows_that_a_program_can_decide_are_automated():
    rows = coverage(loading.load_checklist(PATH), claims_of(FILE))
    assert counts(rows) == {Way.AUTOMATED: 187, Way.SIGNED: 6, Way.WAIVED: 6, Way.OPEN: 0}
    assert by_program(rows) == (178, 182)
    assert {one.row.nature for one in rows if one.way is Way.SIGNED}.isdisjoint(BY_PROGRAM)
    assert all(any(not check.advisory for check in covering(row)) for row in ("P2-178", "P2-179", "P2-143"))


def test_a_sound_version_passes_before_it_goes_live_and_while_it_runs(target):
    assert not_(P, outcomes(target, of("preflight", "migrate", "corruption"))) == []
    recorded = {one.name: one.record(target) for one in of("watch") if one.kind == "log"}  # type: ignore[attr-defined]
    with running(target.at(baseline=recorded)) as live:
        patient = {"the service is healthy": {"within": 20.0}, "ten requests at once succeed": {"each": 20.0}}
        checks = [one.model_copy(update=patient.get(one.name, {})) for one in of("compatibility", "health")]
        assert not_(P, outcomes(live, checks)) == []
        assert not_(P, outcomes(live, [one for one in of("watch") if not one.advisory])) == []
    with psycopg.connect(target.dsn) as conn:
        left = conn.execute("SELECT DISTINCT user_id FROM execution_logs WHERE user_id <> 'user_1'").fetchall()
        assert set(left) <= {("golive-compatibility",)}
        assert conn.execute("SELECT DISTINCT user_id FROM provider_credentials").fetchall() == [("service",)]


@pytest.mark.parametrize(
    ("row", "file", "good", "bad"),
    [
        ("P2-002", "scheduler.py", "return [", "return (["),
        ("P2-004", "providers/__init__.py", "import ProviderRegistry", "import Registry"),
        ("P2-065", "execution_engine.py", "import credentials", "import credential"),
        ("P2-066", "scheduler.py", "from flask_apscheduler", "from flask_apschedule"),
        ("P2-005", "database.py", 'os.environ["DATABASE_URL"]', '"postgresql://postgres:password@localhost/pilot2_db"'),
        ("P2-008", "migrations/002_provider_credentials_and_logs.sql", "FOR DELETE", "FOR SELECT"),
        ("P2-080", "provider_registry.py", "if name in self.providers", "if False"),
        ("P2-082", "tests/test_provider_registry.py", '        "Provider error handling": errors,\n', ""),
        ("P2-180", "PROVIDER_DEVELOPMENT.md", "act(action, params, credentials)", "act()"),
        ("P2-181", "RUNBOOK.md", "## A provider fails", "## Providers"),
        ("P2-197", "ARCHITECTURE_REFACTORING.md", "", None),
        ("P2-198", "QUICK_START_GUIDE.md", "(PROVIDER_DEVELOPMENT.md)", "(NOWHERE.md)"),
        ("P2-199", "REFACTORING_SUMMARY.md", "execution_plans", "plans"),
    ],
)
def test_what_the_release_lacks_is_found_before_it_begins(world, trees, tmp_path, row, file, good, bad):
    sound = Target(world, "pilot2", "v2", root=tmp_path, release_dir=trees / "v2")
    checks = [check for check in covering(row) if check in of("preflight") and check.kind != "environment"]
    assert F in outcomes(broken(sound, tmp_path, (file, good, bad)), checks).values()


ROLE, KEY, RIGHTS = (
    "row-level security applies to the application's role",
    ("the Fernet key is set and no placeholder", "the Fernet key encrypts and decrypts"),
    "golive's role can create a table and drop it",
)


def test_what_the_environment_and_the_database_lack_is_found_before_it_begins(target, monkeypatch):
    monkeypatch.setenv("FERNET_KEY", "<your-fernet-key>")
    monkeypatch.setenv("PILOT2_APP_DSN", "postgresql://postgres:password@localhost/pilot2_db")
    assert looks(target, *KEY, "the application goes to its database as its own role") == {F}
    change(target.dsn, f"ALTER ROLE {data.ROLE} BYPASSRLS", "CREATE TABLE stray (id int)")
    try:
        change(target.dsn, "ALTER TABLE stray ENABLE ROW LEVEL SECURITY")
        known = ("there is no table that nobody knows", "row-level security is on for no other table")
        assert looks(target, ROLE, *known, ELSEWHERE[0]) == {F}
    finally:
        change(target.dsn, f"ALTER ROLE {data.ROLE} NOBYPASSRLS")
    assert looks(target.at(dsn=variables(target.dsn, target.root)["PILOT2_APP_DSN"]), RIGHTS) == {F}
    (target.root / "current").unlink()
    assert looks(target, "the code that serves is kept whole beside the new one") == {F}
    newer = FILE.check("PostgreSQL is 12 or newer")
    newest = newer.model_validate(
        newer.model_dump(by_alias=True) | {"values": {"server_version_num": {"at_least": 10**6}}}
    )
    missing = FILE.check("the packages that the release needs are installed").model_copy(
        update={"installed": ("nix>1",)}
    )
    assert set(outcomes(target, [newest, missing]).values()) == {F}


SOUND = (MIGRATIONS / "001_current_user_id.sql").read_text()


@pytest.mark.parametrize(
    ("change_", "fail"),
    [
        (
            "DROP TABLE execution_logs",
            ["the table of execution logs is there", "the three new tables are there",
             "row-level security is on for execution logs", "execution logs have exactly four policies"],
        ),
        ("ALTER TABLE execution_plans NO FORCE ROW LEVEL SECURITY", ["row-level security is on for execution plans"]),
        (
            "ALTER TABLE provider_credentials DISABLE ROW LEVEL SECURITY",
            ["row-level security is on for provider credentials",
             "nobody sees or makes the provider credentials of another"],
        ),
        (
            "DROP POLICY provider_credentials_delete ON provider_credentials",
            ["row-level security is on for provider credentials", "provider credentials have exactly four policies"],
        ),
        (
            "CREATE POLICY all_see ON execution_plans FOR SELECT USING (true)",
            ["execution plans have exactly four policies", "nobody sees or makes the execution plans of another"],
        ),
        (
            "ALTER POLICY execution_logs_insert ON execution_logs WITH CHECK (true)",
            ["nobody sees or makes the execution logs of another"],
        ),
        (
            SOUND.replace("current_setting('app.current_user_id', true)", "'user_a'"),
            ["the policies' function tells the user that was set",
             "nobody sees or makes the provider credentials of another", "the integration tests pass in test mode"],
        ),
        (
            "ALTER FUNCTION current_user_id() RENAME TO user_id_now",
            ["the policies' function is there"],
        ),
        (
            "REVOKE INSERT ON provider_credentials FROM pilot2_app",
            ["nobody sees or makes the provider credentials of another", "the integration tests pass in test mode"],
        ),
    ],
    ids=["table", "force", "off", "policy", "open", "open to write", "function", "name", "right"],
)  # fmt: skip
def test_what_the_schema_lacks_is_found_after_the_migration(target, change_, fail):
    change(target.dsn, change_)
    assert looks(target, *fail) == {F}


def test_a_version_that_does_not_keep_its_promises_fails(target, tmp_path):
    recorded = {one.name: one.record(target) for one in of("watch") if one.kind == "log"}  # type: ignore[attr-defined]
    tree = broken(
        target.at(baseline=recorded),
        tmp_path,
        (
            "credentials.py",
            '"DELETE FROM provider_credentials WHERE',
            '"DELETE FROM provider_credentials WHERE false AND',
        ),
        ("credentials.py", "cipher.encrypt(value.encode()).decode()", "value"),
        ("credentials.py", "        return {row", "        return {}\n        return {row"),
        ("execution_engine.py", '"INSERT INTO execution_logs', '"INSERT INTO execution_log'),
        ("scheduler.py", '    "purge_old_logs": (purge_old_logs, 3600),\n', ""),
        ("app.py", "), 201", "), 200"),
        ("providers/groq.py", "", None),
    )
    lists = FILE.check("the service lists just the providers that there are")
    quick = lists.model_copy(update={"argv": (*lists.argv, "--within", "0")})  # type: ignore[attr-defined]
    with running(tree, FLASK_ENV="development", FAIL_PROVIDER="logic") as live:
        may_pass = {
            lists.name,
            "the plans of a user can be listed",
            "the scheduler will run its jobs",
            "the service is healthy",
        }
        checks = [one for one in of("compatibility", "health") if one.name not in may_pass]
        assert not_(F, outcomes(live, checks)) == []
        assert set(outcomes(live.at(release_dir=target.release_dir), [quick]).values()) == {F}
        change(target.dsn, "REVOKE SELECT ON execution_plans FROM pilot2_app")
        assert looks(live, "the plans of a user can be listed") == {F}
        assert looks(live, *recorded) == {F}
    assert looks(live, "API answers", "the scheduler will run its jobs") <= {F, U}
    change(target.dsn, "UPDATE provider_credentials SET encrypted_value = 'in the clear'")
    assert looks(target, "every stored credential is encrypted") == {F}


ALERTS = (
    "no alert that more than 5 % of the executions fail",
    "no alert that a job of the scheduler failed",
    "no provider fails more than the others",
)


def test_what_no_execution_leaves_unknown_is_decided_by_many(target):
    of_executions = [one for one in of("watch") if one.advisory and one.kind == "sql"]
    assert looks(target, *ALERTS) == {P}
    assert not_(U, outcomes(target, of_executions)) == []
    data.execute(target.dsn, executions=8_000)
    assert not_(P, outcomes(target, of_executions)) == []
    assert looks(target, *ALERTS) == {P}
    data.execute(target.dsn, executions=400, errors=30, provider="groq", minutes=50)
    change(
        target.dsn,
        "INSERT INTO scheduler_runs (job, status, error) VALUES ('heartbeat', 'error', 'OSError')",
        "UPDATE execution_logs SET latency_ms = 40000 WHERE provider = 'groq' AND timestamp > now() - '1 h'::interval",
        "DELETE FROM execution_logs WHERE status = 'success' AND provider <> 'groq' AND id % 3 > 0",
    )
    failing = [one for one in of_executions if one.name != "providers are used"]
    found = outcomes(target, failing)
    assert not_(F, found) == ["steps were executed in the last 24 hours, and most of them well"]
    change(target.dsn, "UPDATE execution_logs SET status = 'error' WHERE provider <> 'logic'")
    assert looks(target, *ALERTS, "steps were executed in the last 24 hours, and most of them well") == {F}


def test_growth_is_unknown_until_it_has_been_watched_and_then_judged(target):
    growth = [one for one in of("watch") if one.kind == "table_growth"]
    assert len(growth) == 4
    recorded = {one.name: one.record(target) for one in growth}  # type: ignore[attr-defined]
    later = target.at(baseline=recorded)
    assert set(outcomes(later, growth).values()) == {U}
    data.execute(target.dsn, executions=2_000)
    change(target.dsn, "INSERT INTO execution_plans (user_id, name, original_prompt, steps) "
           "SELECT 'user_1', 'p', repeat('x', 500), '[]' FROM generate_series(1, 3000)",
           "INSERT INTO provider_credentials (user_id, provider, type, encrypted_value) "
           "SELECT 'user_1', n::text, 'api_key', 'gAAAA' FROM generate_series(1, 3000) n", "ANALYZE")  # fmt: skip
    at_once = [one.model_copy(update={"min_window": 0.0}) for one in growth]
    found = outcomes(later, at_once)
    assert set(found.values()) == {F}, "thousands of rows within seconds are more than the limits of a day"


def test_how_long_statements_take_is_unknown_where_the_server_does_not_count_it(target):
    (slow,) = [one for one in of("watch") if one.kind == "slow_queries"]
    assert (set(outcomes(target, [slow]).values()), slow.advisory) == ({U}, True)
