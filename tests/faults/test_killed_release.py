"""A release whose process is killed amid its steps, or sleeps before one: someone else goes on, exactly once.

At the edges of its steps `test_killed_at_each_step` kills it.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.adapters.postgres import Postgres
from tasks.context import holder
from tasks.domain.errors import Refused
from tasks.domain.ports import RunningServer
from tasks.domain.release import State
from tests.flows import GROW, SmallSystem, wait_until
from tests.nursery import Nursery
from tests.watched import moves_of


@pytest.fixture
def system(open_directory: Path, pg_server: RunningServer) -> Iterator[SmallSystem]:
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


def let_v1_serve(system: SmallSystem) -> None:
    system.phase("deploy", "v1")
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


ASLEEP_IN = "SELECT count(*) AS n FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname LIKE '{}'"


def killed_when(system: SmallSystem, nursery: Nursery, seen: str, resume: str = "") -> str:
    """Release v2 in a process that is killed when a query counts something, and return the release's id."""
    with nursery.running("release", system="shop", version="v2", resume=resume) as child:
        wait_until(lambda: system.sql(seen)[0]["n"] or not child.alive, 90)
        assert child.alive, child.said[-3000:]
    return str(system.latest().id)


def test_a_release_killed_between_migrations_within_a_statement_runs_each_once(
    system: SmallSystem, nursery: Nursery
) -> None:
    slow = "SELECT pg_sleep(CASE WHEN current_database() LIKE 'shop%' THEN 3 ELSE 0 END);\n"
    let_v1_serve(system)
    system.write({"migration.limits": {"duration": "30s", "lock": "20s", "wait": "100ms", "tries": 3}})
    note = system.home / "versions" / "v2" / "migrations" / "2_note_up.sql"
    note.write_text(note.read_text() + slow)
    release = killed_when(system, nursery, ASLEEP_IN.format(Postgres().name_of(system.dsn)))
    applied = [row["name"] for row in system.sql("SELECT name FROM golive_migrations")]
    assert "migrations/1_grow_up.sql" in applied
    assert "migrations/2_note_up.sql" not in applied
    system.release("v2", resume=release)
    assert_live_once(system, release)


def test_a_release_killed_amid_dump_restore_and_rehearsal_is_resumed_each_time_and_goes_live(
    system: SmallSystem, nursery: Nursery
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
    waits = "SELECT count(*) AS n FROM pg_locks WHERE NOT granted AND relation = 'parted'::regclass"
    system.sql("CREATE TABLE parted (n int) PARTITION BY RANGE (n)")
    with Postgres().session(system.dsn) as blocker, blocker.transaction():
        # It holds no rows of its own, so that pg_dump alone has to do with it, and waits.
        blocker.execute("LOCK TABLE parted IN ACCESS EXCLUSIVE MODE")
        release = killed_when(system, nursery, waits)
    for copy in ("golive_restored_%", "golive_rehearsal_%"):
        assert killed_when(system, nursery, ASLEEP_IN.format(copy), release) == release
    assert system.release("v2", resume=release) == f"{release} is live and watched"
    assert_live_once(system, release)
    backups = system.home / "golive" / "systems" / "shop" / "backups"
    assert sorted(backups.iterdir()) == [Path(one.location) for one in system.ledger.evidence.backups("shop")]
    system.no_scratch_is_left()


def test_a_process_that_was_presumed_dead_and_wakes_up_changes_nothing(system: SmallSystem, nursery: Nursery) -> None:
    """It is stopped in the middle of the migration phase, another one goes live, and then it is woken."""
    let_v1_serve(system)
    with nursery.running("release", ["sleep before migrate production"], system="shop", version="v2") as child:
        wait_until(lambda: child.asleep or not child.alive, 90)
        assert child.alive, child.said[-3000:]
        release = system.latest().id
        with pytest.raises(Refused, match="is driven by"):
            system.release("v2", resume=release)
        system.ledger.releases.take(release, holder(), force=True)
        system.release("v2", resume=release)
        steps, moves = len(system.steps(release)), moves_of(system, release)
        os.kill(child.pid, signal.SIGCONT)
        assert child.wait() == 1
    assert "Fenced" in child.said
    assert_live_once(system, release)
    assert moves_of(system, release) == moves
    late = system.steps(release)[steps:]
    assert all(event in {"done", "failed"} for _phase, _name, event in late), late
