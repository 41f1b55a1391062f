"""A release whose process is killed, at the edges of its steps: someone else goes on, or back, exactly once.

The process stops itself where the test wants it killed: right before a step acts ("before", its intent is on record) or
right after it has acted ("after", its end is not on record yet), and is then killed from outside.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tasks.adapters.postgres import Postgres
from tasks.domain.errors import Refused
from tasks.domain.ports import RunningServer
from tasks.domain.release import State
from tests.flows import GROW, SmallSystem, wait_until
from tests.services import free_port
from tests.watched import deploy, kill_wait, moves_of

DRIVER = """
import asyncio, os, pathlib, sys, time
from tasks.ledger.releases import Releases
from tests.systems import without_prefect

edge, at, flag = os.environ["STOP_EDGE"], os.environ["STOP_AT"], pathlib.Path(os.environ["STOP_FLAG"])


def stop():
    if not flag.exists():
        flag.touch()
        while not flag.with_suffix(".go").exists():
            time.sleep(0.02)


intend, report, move = Releases.intend, Releases.report, Releases.move


def intending(self, claim, phase, name, **given):
    number = intend(self, claim, phase, name, **given)
    if edge == "before" and name == at:
        stop()
    return number


def reporting(self, claim, phase, name, number, **given):
    if edge == "after" and name == at:
        stop()
    return report(self, claim, phase, name, number, **given)


def moving(self, claim, before, after, **given):
    move(self, claim, before, after, **given)
    if edge == "state" and after == at:
        stop()


Releases.intend, Releases.report, Releases.move = intending, reporting, moving
with without_prefect():
    if sys.argv[1] == "release":
        from flows.release import release
        asyncio.run(release("shop", "v2", resume=os.environ.get("RESUME", "")))
    else:
        from flows.rollback import rollback
        asyncio.run(rollback("shop", "for a test"))
"""


@contextmanager
def driver(system: SmallSystem, what: str, edge: str, at: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a release or a rollback as a process of its own, until it has stopped itself at a step."""
    flag = system.home / f"stopped-{what}"
    with (system.home / f"{what}.out").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", DRIVER, what],
            env={**os.environ, "STOP_EDGE": edge, "STOP_AT": at, "STOP_FLAG": str(flag)},
            stdout=log,
            stderr=log,
        )
    try:
        wait_until(lambda: flag.exists() or process.poll() is not None or edge == "never", 60)
        assert process.poll() is None, (system.home / f"{what}.out").read_text()[-3000:]
        yield process
    finally:
        process.send_signal(signal.SIGCONT)
        process.kill()
        process.wait(10)


@pytest.fixture
def system(open_directory: Path, pg_server: RunningServer, prefect_server: str) -> Iterator[SmallSystem]:
    """A small system on which nothing serves yet; v2 has two migrations on which v1 still runs."""
    system = SmallSystem.make(open_directory, pg_server)
    try:
        system.write({"checks.health": [{"kind": "http", "name": "still there", "url": "{base_url}/items"}]})
        system.add_version(
            "v2",
            query="SELECT id, colour FROM item ORDER BY id LIMIT 5",
            up={"1_grow": GROW, "2_note": "ALTER TABLE note ADD COLUMN size integer;\n"},
            down={
                "1_grow": "ALTER TABLE item DROP COLUMN colour;\n",
                "2_note": "ALTER TABLE note DROP COLUMN size;\n",
            },
        )
        yield system
    finally:
        system.close()


def let_v1_serve(system: SmallSystem, *, blue_green: bool = False) -> None:
    """Deploy v1; with ``blue_green`` behind a router and in one of two slots."""
    if blue_green:
        rollout = {"kind": "blue_green", "ports": [free_port(), free_port()], "drain": "0s", "ready": {"every": "50ms"}}
        system.write({"router": {"kind": "embedded", "listen": system.port}, "rollout": rollout})
    deploy(system)
    assert system.serving() == "v1"


def assert_live_once(system: SmallSystem, release: str) -> None:
    """Hold that v2 serves, alone, by one chain of moves and one run of each migration."""
    assert system.serving() == "v2"
    moves = moves_of(system, release)
    assert moves[-1] == State.WATCHING
    assert len(moves) == len(set(moves)), moves
    applied = [row["name"] for row in system.sql("SELECT name FROM golive_migrations ORDER BY applied_at")]
    assert [name for name in applied if name.endswith(("grow_up.sql", "note_up.sql"))] == [
        "migrations/1_grow_up.sql",
        "migrations/2_note_up.sql",
    ]
    row = system.ledger.releases.get(release)
    assert (row.state, row.version, row.previous_version) == (State.WATCHING, "v2", "v1")
    assert row.holder == ""


@pytest.mark.parametrize(
    ("edge", "at"),
    [
        ("after", "fetch the code"),
        ("after", "take the backup"),
        ("after", "migrate the copy up, down and up"),
        ("after", "migrate production"),
        ("after", "stop the old version"),
        ("state", "health"),
    ],
)
def test_a_killed_release_is_resumed_and_goes_live_once(system: SmallSystem, edge: str, at: str) -> None:
    let_v1_serve(system)
    with driver(system, "release", edge, at) as process:
        release = system.latest().id
        kill_wait(process)
    began = time.monotonic()
    assert system.release("v2", resume=release) == f"{release} is live and watched"
    assert time.monotonic() - began < 45, "a holder whose process has ended was waited for"
    assert_live_once(system, release)
    backups = system.home / "golive" / "systems" / "shop" / "backups"
    on_record = [Path(one.location) for one in system.ledger.evidence.backups("shop")]
    assert sorted(backups.iterdir()) == sorted(on_record), "a killed process left a dump behind"


@pytest.mark.parametrize(
    ("edge", "at"),
    [
        ("after", "migrate production"),
        ("after", "stop the old version"),
    ],
)
def test_a_killed_release_is_taken_back(system: SmallSystem, edge: str, at: str) -> None:
    let_v1_serve(system)
    before = system.content()["tables"]
    with driver(system, "release", edge, at) as process:
        release = system.latest().id
        kill_wait(process)
    assert system.rollback(reason="its process died", release=release) == "v1"
    assert system.serving() == "v1"
    assert system.ledger.releases.get(release).state == State.ROLLED_BACK
    assert before.keys() <= system.content()["tables"].keys()
    with pytest.raises(Refused):
        system.release("v2", resume=release)
    assert system.serving() == "v1"


@pytest.mark.parametrize("at", ["start v2 beside what serves", "switch the router to v2"])
def test_a_release_killed_at_the_switch_is_resumed_or_taken_back(system: SmallSystem, at: str) -> None:
    let_v1_serve(system, blue_green=True)
    with driver(system, "release", "after", at) as process:
        release = system.latest().id
        kill_wait(process)
    assert system.serving() == ("v2" if at.startswith("switch") else "v1")
    system.release("v2", resume=release)
    assert_live_once(system, release)
    with driver(system, "rollback", "after", "switch the router to v1") as process:
        kill_wait(process)
    assert system.ledger.releases.get(release).state == State.ROLLING_BACK
    assert system.rollback(reason="again", release=release) == "v1"
    assert system.serving() == "v1"
    assert system.ledger.releases.get(release).state == State.ROLLED_BACK


def test_a_release_killed_between_migrations_within_a_statement_runs_each_once(system: SmallSystem) -> None:
    slow = "SELECT pg_sleep(CASE WHEN current_database() LIKE 'shop%' THEN 3 ELSE 0 END);\n"
    let_v1_serve(system)
    system.write({"migration.limits": {"duration": "30s", "lock": "20s", "wait": "100ms", "tries": 3}})
    note = system.home / "versions" / "v2" / "migrations" / "2_note_up.sql"
    note.write_text(note.read_text() + slow)
    asleep = "SELECT pid FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = current_database()"
    with driver(system, "release", "never", "") as process:
        wait_until(lambda: system.sql(asleep) or process.poll() is not None, 90)
        release = system.latest().id
        kill_wait(process)
    applied = [row["name"] for row in system.sql("SELECT name FROM golive_migrations")]
    assert "migrations/1_grow_up.sql" in applied
    assert "migrations/2_note_up.sql" not in applied
    system.release("v2", resume=release)
    assert_live_once(system, release)


@pytest.mark.timeout(400)  # three processes that each begin from nothing
def test_a_release_killed_amid_dump_restore_and_rehearsal_is_resumed_each_time_and_goes_live(
    system: SmallSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not at the edges of its steps: what the programs that it ran do after it was killed is in nobody's way."""
    let_v1_serve(system)
    system.write({"migration.limits": {"duration": "30s", "lock": "20s", "wait": "100ms", "tries": 3}})
    note = system.home / "versions" / "v2" / "migrations" / "2_note_up.sql"
    asleep_in = "SELECT pg_sleep(CASE WHEN current_database() LIKE 'golive_{}_%' THEN 4 ELSE 0 END)"
    note.write_text(note.read_text() + asleep_in.format("rehearsal") + ";\n")
    system.sql(
        "CREATE FUNCTION lazy(n integer) RETURNS integer IMMUTABLE LANGUAGE plpgsql AS "
        f"$$ BEGIN IF n = 1 THEN PERFORM ({asleep_in.format('restored')}); END IF; RETURN n; END $$"
    )
    system.sql("CREATE INDEX lazy ON note (lazy(id))")
    asleep = "SELECT count(*) AS n FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname LIKE 'golive_{}_%'"
    waits = "SELECT count(*) AS n FROM pg_locks WHERE NOT granted AND relation = 'parted'::regclass"
    system.sql("CREATE TABLE parted (n int) PARTITION BY RANGE (n)")

    def killed_when(seen: str, resume: str) -> str:
        monkeypatch.setenv("RESUME", resume)
        (system.home / "stopped-release").unlink(missing_ok=True)
        with driver(system, "release", "never", "") as process:
            wait_until(lambda: system.sql(seen)[0]["n"] or process.poll() is not None, 90)
            assert process.poll() is None, (system.home / "release.out").read_text()[-3000:]
            kill_wait(process)
        return str(system.latest().id)

    with Postgres().session(system.dsn) as blocker, blocker.transaction():
        # It holds no rows of its own, so that pg_dump alone has to do with it, and waits.
        blocker.execute("LOCK TABLE parted IN ACCESS EXCLUSIVE MODE")
        release = killed_when(waits, "")
    assert killed_when(asleep.format("restored"), release) == release
    assert killed_when(asleep.format("rehearsal"), release) == release
    assert system.release("v2", resume=release) == f"{release} is live and watched"
    assert_live_once(system, release)
    backups = system.home / "golive" / "systems" / "shop" / "backups"
    assert sorted(backups.iterdir()) == [Path(one.location) for one in system.ledger.evidence.backups("shop")]
    system.no_scratch_is_left()


def test_a_process_that_was_presumed_dead_and_wakes_up_changes_nothing(system: SmallSystem) -> None:
    """It is stopped in the middle of the migration phase, another one goes live, and then it is woken."""
    let_v1_serve(system)
    with driver(system, "release", "before", "migrate production") as process:
        release = system.latest().id
        process.send_signal(signal.SIGSTOP)
        with pytest.raises(Refused, match="is driven by"):
            system.release("v2", resume=release)
        from tasks.context import holder

        system.ledger.releases.take(release, holder(), force=True)
        system.release("v2", resume=release)
        steps, moves = len(system.steps(release)), moves_of(system, release)
        (system.home / "stopped-release.go").touch()
        process.send_signal(signal.SIGCONT)
        assert process.wait(60) != 0
    assert "Fenced" in (system.home / "release.out").read_text()
    assert_live_once(system, release)
    assert moves_of(system, release) == moves
    late = system.steps(release)[steps:]
    assert all(event in {"done", "failed"} for _phase, _name, event in late), late
