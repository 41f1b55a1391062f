"""The migrator of any tool, with a small real tool against a real PostgreSQL."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest

from tasks.domain.errors import CommandFailed, LockNotGranted, Refused, TimedOut
from tasks.domain.target import Target
from tasks.domain.turn import Turn
from tasks.migrators import Limits
from tasks.migrators.command import Command
from tests import own_tool
from tests.flows import wait_until

LIMITS = {"wait": "100ms", "tries": 2, "duration": "20s"}
ORDERS = ("CREATE TABLE orders (id int)", "DROP TABLE orders")
TOTAL = ("ALTER TABLE orders ADD total int; SELECT pg_sleep(0.3)", "ALTER TABLE orders DROP total")
ASLEEP = "SELECT pid FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = current_database()"


@pytest.fixture
def target(world, database, tmp_path):
    return Target(world=world, system="shop", version="2.0", dsn=database, release_dir=tmp_path)


@pytest.fixture
def migrator(tmp_path):
    """Makes the migrator of a release with steps, some of its fields (or of its commands) changed."""

    def make(steps=None, **changes):
        fields = own_tool.release(tmp_path, **(steps or {"a1": ORDERS, "b2": TOTAL}))
        fields["commands"] |= {name: changes.pop(name) for name in list(changes) if name in fields["commands"]}
        fields["commands"]["verify"] = changes.pop("verify", ())
        return Command.model_validate(fields | {"limits": LIMITS} | changes)

    return make


@pytest.fixture
def psql(database):
    with psycopg.connect(database, autocommit=True) as connection:
        yield lambda sql: connection.execute(sql)


def test_a_tool_gets_the_dsn_in_its_environment_and_its_locks_are_seen(target, migrator, psql, tmp_path):
    (tmp_path / "seen.py").write_text(
        "import os, sys\nassert not any('@' in word for word in sys.argv)\n"
        "assert os.environ['OWN'] == '2.0' and 'PYTEST_CURRENT_TEST' not in os.environ\n"
        "open('seen', 'a').write(os.environ['DB'][:11])\n"
    )
    made = migrator(
        verify=[["{python}", "seen.py"]],
        dsn_variable="DB",
        environment={"OWN": "{version}", "DATABASE_URL": "{dsn}"},
    )
    up = made.upgrade(target)
    assert (up.applied, up.tries, up.locks_exact, up.notes) == (("a1", "b2"), 1, False, ())
    held = {(lock.relation, lock.mode): lock.held for lock in up.locks}
    assert held["public.orders", "AccessExclusiveLock"] > 0.2
    assert made.upgrade(target).applied == ()
    assert (tmp_path / "seen").read_text() == "postgresql:" * 2, "it is verified again though nothing was pending"
    each = migrator(downgrade=["{python}", "tool.py", "down", "{name}"], environment={"DATABASE_URL": "{dsn}"})
    assert each.downgrade(target, ["a1", "b2"]).applied == ("b2", "a1")
    assert psql("SELECT to_regclass('orders')").fetchone() == (None,)
    assert not made.model_copy(update={"commands": made.commands.model_copy(update={"downgrade": ()})}).can_downgrade(
        target
    )


def test_on_a_copy_the_locks_of_a_tool_are_seen_whatever_it_calls_itself(target, migrator, psql):
    psql("CREATE TABLE orders (id int)")
    unnamed = migrator({"b2": TOTAL}, upgrade=["env", "PGAPPNAME=own", "{python}", "tool.py", "up"])
    up = unnamed.upgrade(target)
    assert [lock.held > 0.2 for lock in up.locks if lock.mode == "AccessExclusiveLock"] == [True]
    assert up.notes == ()
    in_turn = target.at(turn=Turn("shop-1", datetime(2026, 11, 22, tzinfo=UTC), 1, lambda: None))
    unnamed.downgrade(in_turn, ["b2"])
    assert "so its locks are unknown" in unnamed.upgrade(in_turn).notes[0], "others are at work in production too"


def test_what_a_tool_says_is_not_believed_without_a_look(target, migrator, psql, tmp_path):
    idle = ["{python}", "-c", "pass"]
    with pytest.raises(CommandFailed, match="it ended well and yet a1, b2 is pending"):
        migrator(upgrade=idle).upgrade(target)
    migrator().upgrade(target)
    with pytest.raises(CommandFailed, match="it ended well and yet b2, a1 is applied"):
        migrator(downgrade=idle).downgrade(target, ["a1", "b2"])
    for said in ("-rf", "a1\\na1"):
        with pytest.raises(Refused, match="expected names"):
            migrator(pending=["{python}", "-c", f"print('{said}')"]).pending(target)
    with pytest.raises(CommandFailed, match=r"verify: \{python\}: exit code 1:\nnot right"):
        migrator(verify=[["{python}", "-c", "raise SystemExit('not right')"]]).upgrade(target)
    password = str(psycopg.conninfo.conninfo_to_dict(target.dsn)["password"])
    with pytest.raises(CommandFailed, match="cannot use") as caught:
        migrator(pending=["{python}", "-c", "import os; raise SystemExit('cannot use ' + str(os.environ))"]).pending(
            target
        )
    assert password not in str(caught.value)


def test_only_a_lock_that_is_not_granted_is_tried_again(target, migrator, database, psql):
    psql("CREATE TABLE orders (id int)")
    made = migrator({"b2": TOTAL})
    with psycopg.connect(database) as holder:
        holder.execute("SELECT count(*) FROM orders")
        with pytest.raises(LockNotGranted, match="on each of 2 tries"):
            made.upgrade(target)
    missing = migrator({"b2": ("ALTER TABLE missing ADD a int", "SELECT 1")})
    with pytest.raises(CommandFailed, match="UndefinedTable"):
        missing.upgrade(target)
    hasty = migrator({"b2": ("SELECT pg_sleep(30)", "SELECT 1")}, limits=LIMITS | {"statement": "200ms"})
    with pytest.raises(TimedOut, match="within 200 ms"):
        hasty.upgrade(target)


def test_a_tool_whose_driver_ignores_the_limits_is_refused(target, migrator, tmp_path):
    made = migrator()
    made.require_possible(target)
    # As asyncpg and JDBC do, which read none of libpq's variables.
    deaf = "import os; os.environ.pop('PGOPTIONS')\n" + (tmp_path / "tool.py").read_text()
    (tmp_path / "tool.py").write_text(deaf)
    with pytest.raises(Refused, match="does not read PGOPTIONS"):
        made.require_possible(target)
    made.model_copy(update={"lock_timeout_by": "release"}).require_possible(target)


def test_the_fingerprint_follows_files_commands_and_limits(target, migrator, tmp_path):
    seen = {migrator().fingerprint(target)}
    assert migrator().fingerprint(target) in seen
    seen.add(migrator({"a1": TOTAL}).fingerprint(target))
    seen.add(migrator({"a1": TOTAL, "c3": ORDERS}).fingerprint(target))
    seen.add(migrator(upgrade=["other"]).fingerprint(target))
    seen.add(migrator().model_copy(update={"limits": Limits(tries=7)}).fingerprint(target))
    assert len(seen) == 5
    with pytest.raises(Refused, match="no such file"):
        migrator(files=["elsewhere/*"]).fingerprint(target)


RUNNER = """
import sys, time
from pathlib import Path
from types import SimpleNamespace
from tasks.adapters.host import LocalHost
from tasks.adapters.postgres import Postgres
from tasks.adapters.secrets import SecretStore
from tasks.domain.target import Target
from tasks.migrators.command import Command
clock = SimpleNamespace(monotonic=time.monotonic, sleep=time.sleep)
world = SimpleNamespace(
    clock=clock, host=LocalHost(), databases=Postgres(), secrets=SecretStore(), progress=lambda line: None
)
dsn = sys.stdin.readline().strip()
target = Target(world=world, system="shop", version="2.0", dsn=dsn, release_dir=Path(sys.argv[1]))
Command.model_validate_json(sys.argv[2]).upgrade(target)
"""


def test_a_tool_that_outlived_golive_is_waited_for_and_its_work_is_gone_on_with(target, migrator, psql, tmp_path):
    made = migrator({"a1": ORDERS, "b2": ("SELECT pg_sleep(60)", "SELECT 1"), "c3": TOTAL})
    fields = own_tool.release(tmp_path) | {"limits": {"duration": "60s"}}
    process = subprocess.Popen(
        [sys.executable, "-c", RUNNER, tmp_path, json.dumps(fields)], stdin=subprocess.PIPE, cwd=Path.cwd()
    )
    assert process.stdin
    try:
        process.stdin.write(target.dsn.encode() + b"\n")
        process.stdin.close()
        wait_until(lambda: psql(ASLEEP).fetchone() or process.poll() is not None, 60)
        assert process.poll() is None
    finally:
        process.kill()
        process.wait()
    (pid,) = psql(ASLEEP).fetchone()
    with pytest.raises(Refused, match=f"another migration of this database is under way: pid {pid} "):
        made.upgrade(target)
    psql(f"SELECT pg_terminate_backend({pid}, 5000)")
    assert made.pending(target) == ["b2", "c3"]
    (tmp_path / "steps" / "b2.sql").write_text("SELECT 1")
    assert made.upgrade(target).applied == ("b2", "c3")
