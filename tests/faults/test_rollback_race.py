"""Rollbacks of releases whose process still lives, or was killed in a phase that had been started alone."""

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
from tasks.domain.errors import ActiveRelease, NeedsPerson, Refused
from tasks.domain.ports import RunningServer
from tasks.domain.release import State
from tests.flows import GROW, ON_TITLE, RENAME, RENAME_BACK, SmallSystem, a_system, wait_until
from tests.watched import alerts_of, deploy

# A release in a process of its own takes its time on a busy machine.
pytestmark = pytest.mark.timeout(600)

SLEEP_IN_PRODUCTION = "SELECT pg_sleep(CASE WHEN current_database() LIKE 'shop%' THEN 2 ELSE 0 END);\n"
ASLEEP = "SELECT pid FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = current_database()"
RUNNER_KEY = int.from_bytes(b"golive", "big")

KILLED_AT = """
import asyncio, os, signal, sys
from tasks.ledger.releases import Releases

intend = Releases.intend


def intending(self, claim, phase, name, **given):
    number = intend(self, claim, phase, name, **given)
    if name.startswith(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)
    return number


Releases.intend = intending
import importlib
asyncio.run(getattr(importlib.import_module("flows." + sys.argv[1]), sys.argv[1])("shop", sys.argv[2]))
"""
RELEASE = "import asyncio\nfrom flows.release import release\nasyncio.run(release('shop', 'v2'))\n"


@pytest.fixture
def shop(pg_server: RunningServer, prefect_server: str) -> Iterator[SmallSystem]:
    """A system that v1 serves."""
    with a_system(pg_server) as system:
        deploy(system)
        yield system


def killed_phase(shop: SmallSystem, phase: str, version: str, at: str) -> str:
    """Run a phase alone in a process that is killed as it begins a step, and return the id of its record."""
    done = subprocess.run([sys.executable, "-c", KILLED_AT, phase, version, at], capture_output=True, check=False)
    assert done.returncode == -9, done.stderr.decode()[-2000:]
    return str(shop.latest().id)


@contextmanager
def releasing(shop: SmallSystem, script: str = RELEASE) -> Iterator[subprocess.Popen[bytes]]:
    """Release v2 in a process of its own."""
    with (shop.home / "release.out").open("wb") as log:
        process = subprocess.Popen([sys.executable, "-c", script], env=dict(os.environ), stdout=log, stderr=log)
    try:
        yield process
    finally:
        process.kill()
        process.wait(10)


def test_a_rollback_waits_for_the_migration_that_another_process_is_running(shop: SmallSystem) -> None:
    shop.add_version(
        "v2", query=ON_TITLE, up={"1_rename": SLEEP_IN_PRODUCTION + RENAME}, down={"1_rename": RENAME_BACK}
    )
    before = shop.content()["columns"]
    with releasing(shop) as process:
        wait_until(lambda: shop.sql(ASLEEP) or process.poll() is not None, 240)
        assert process.poll() is None, (shop.home / "release.out").read_text()[-3000:]
        release = shop.latest().id
        assert shop.rollback(reason="not today", release=release) == "v1"
        assert process.wait(30) != 0
    assert "Fenced" in (shop.home / "release.out").read_text()
    assert shop.content()["columns"] == before
    assert (shop.serving(), shop.latest().state) == ("v1", State.ROLLED_BACK)
    steps = shop.steps(release)
    assert steps.index(("migrate", "migrate production", "done")) < steps.index(
        ("rollback", "take the schema back", "started")
    )


def test_a_rollback_gives_a_migration_that_does_not_end_to_a_person_and_says_who_is_at_it(shop: SmallSystem) -> None:
    shop.write({"migration.limits": {"duration": "2s", "lock": "2s", "wait": "100ms", "tries": 1}})
    shop.add_version("v2", up={"1_grow": GROW}, down={"1_grow": "ALTER TABLE item DROP COLUMN colour;\n"})
    shop.release("v2")
    release, live = shop.latest().id, shop.content()
    with Postgres().session(shop.dsn, application="somebody else") as other:
        other.query("SELECT pg_advisory_lock(%s::bigint)", (RUNNER_KEY,))
        with pytest.raises(NeedsPerson, match="somebody else") as caught:
            shop.rollback(reason="not today")
    assert f"golive rollback shop --release {release}" in caught.value.do
    assert (shop.latest().state, shop.content(), shop.serving()) == (State.NEEDS_PERSON, live, "v2")
    assert shop.rollback(reason="not today", release=release) == "v1"


def test_what_an_ousted_process_does_is_waited_for_once(shop: SmallSystem) -> None:
    from tasks.rollback import begin, give_to_person, wait_for_ousted
    from tests.watched import put_under_watch

    shop.write({"migration.limits": {"duration": "1s", "tries": 1, "wait": "100ms"}, "rollout.ready.within": "1s"})
    shop.add_version("v2")
    release = put_under_watch(shop, state=State.DEPLOY)
    # This test's parent lives as long as the test, and is not the process that rolls back.
    from tasks.adapters.process import mark_of
    from tasks.context import holder

    pid = os.getppid()
    alive = f"{holder().split(':')[0]}:{pid}:{mark_of(pid)}-0"
    claim = shop.ledger.releases.take(release, alive, force=True)
    number = shop.ledger.releases.intend(claim, "deploy", "start v2", mutates=True, detail={})

    def reporting() -> None:
        shop.ledger.releases.report(claim, "deploy", "start v2", number, event="done", took=1.0, detail={})

    mine = begin(release, reason="not today", automatic=False, started_by="bob")
    assert mine.fenced == alive
    began = time.monotonic()
    with pytest.raises(NeedsPerson, match=f"{pid}.* is still at: start v2") as caught:
        wait_for_ousted.fn(mine)
    assert 4 < time.monotonic() - began < 20
    give_to_person(mine, caught.value)
    told = begin(release, reason="that process hangs", automatic=False, started_by="bob")
    assert wait_for_ousted.fn(told) == 0
    reporting()
    assert shop.ledger.releases.unfinished(release, told.epoch) == []


def test_a_phase_alone_that_was_killed_in_production_is_taken_back(shop: SmallSystem) -> None:
    shop.add_version("v2")
    release = killed_phase(shop, "deploy", "v2", "start")
    row = shop.latest()
    assert (row.state, row.mutation_started_at is not None) == (State.RUNNING, True)
    with pytest.raises(ActiveRelease):
        shop.phase("deploy", "v1")
    assert shop.rollback(reason="its process died") == "v1"
    assert (shop.serving(), shop.ledger.releases.get(release).state) == ("v1", State.ROLLED_BACK)
    shop.phase("deploy", "v1")


def test_a_phase_alone_that_runs_is_not_taken_back(shop: SmallSystem) -> None:
    from tasks.driving import advance, open_release

    shop.add_version("v2")
    claim = open_release("shop", "v2", scope="deploy", mutates=True, started_by="ann", reason="")
    advance(claim, State.RUNNING)
    shop.ledger.releases.intend(claim, "deploy", "start v2", mutates=True, detail={})
    shop.ledger.releases.take(claim.release_id, "elsewhere:1:x", force=True)
    with pytest.raises(Refused, match="is driven by elsewhere:1:x"):
        shop.rollback(reason="too early")
    assert shop.latest().state == State.RUNNING


def test_a_person_accepts_what_a_killed_phase_has_done(shop: SmallSystem, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the old version cannot be stopped: that is told, and changes nothing of the decision."""
    from tasks.domain.errors import Unreachable
    from tasks.release import accept
    from tasks.rollouts.recreate import Recreate

    shop.add_version("v2")
    release = killed_phase(shop, "deploy", "v2", "confirm")

    def away(*_: object) -> str:
        raise Unreachable("the platform cannot be asked")

    with monkeypatch.context() as patched:
        patched.setattr(Recreate, "serving", away)
        assert accept(release, person_name="bob", reason="it serves") == "accepted by bob: it serves"
    row = shop.ledger.releases.get(release)
    assert (row.state, row.verdict, row.holder, shop.serving()) == (State.STABLE, "accepted", "", "v2")
    assert any("the platform cannot be asked" in text for text in alerts_of(shop, release))
    with pytest.raises(Refused, match="is stable"):
        accept(release, person_name="bob", reason="once more")


SUSPENDED = """
import asyncio, os, signal
from tasks.ledger.releases import Releases

intend = Releases.intend


def intending(self, claim, phase, name, **given):
    number = intend(self, claim, phase, name, **given)
    if name == "migrate production":
        os.kill(os.getpid(), signal.SIGSTOP)
    return number


Releases.intend = intending
from flows.release import release
asyncio.run(release("shop", "v2"))
"""


def test_a_process_that_slept_before_it_migrated_leaves_the_schema_as_the_rollback_left_it(shop: SmallSystem) -> None:
    shop.add_version("v2", query=ON_TITLE, up={"1_rename": RENAME}, down={"1_rename": RENAME_BACK})
    before = shop.content()
    with releasing(shop, SUSPENDED) as process:

        def suspended() -> bool:
            return Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"

        wait_until(lambda: suspended() or process.poll() is not None, 240)
        assert process.poll() is None, (shop.home / "release.out").read_text()[-3000:]
        # It has not been heard of for more than a minute, so nobody waits for it any more.
        shop.sql_in_ledger("UPDATE release SET holder_seen = holder_seen - interval '2 minutes'")
        assert shop.rollback(reason="not today") == "v1"
        process.send_signal(signal.SIGCONT)
        assert process.wait(60) != 0
    assert "Fenced" in (shop.home / "release.out").read_text()
    assert (shop.content(), shop.serving(), shop.latest().state) == (before, "v1", State.ROLLED_BACK)
    assert shop.sql("SELECT release, epoch FROM golive_fence.golive_fence")[0]["epoch"] == shop.latest().epoch


def test_a_file_that_was_killed_midway_is_taken_back(shop: SmallSystem) -> None:
    """What it has done already would be no part of any rehearsed way back, if it counted as not applied."""
    half = "-- golive: no transaction\nALTER TABLE item ADD COLUMN IF NOT EXISTS colour text;\n"
    up = half + SLEEP_IN_PRODUCTION
    shop.add_version("v2", up={"1_grow": up}, down={"1_grow": "ALTER TABLE item DROP COLUMN IF EXISTS colour;\n"})
    before = shop.content()["columns"]
    with releasing(shop) as process:
        wait_until(lambda: shop.sql(ASLEEP) or process.poll() is not None, 240)
        assert process.poll() is None, (shop.home / "release.out").read_text()[-3000:]
        process.kill()
        process.wait(10)
    assert shop.content()["columns"] != before
    assert shop.rollback(reason="its process died") == "v1"
    assert (shop.content()["columns"], shop.latest().state) == (before, State.ROLLED_BACK)
