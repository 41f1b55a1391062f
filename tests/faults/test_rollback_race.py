"""Rollbacks of releases whose process still lives, or was killed in a phase that had been started alone."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator

import pytest

from tasks.adapters.postgres import Postgres
from tasks.domain.errors import ActiveRelease, NeedsPerson, Refused
from tasks.domain.ports import RunningServer
from tasks.domain.release import State
from tests.flows import GROW, ON_TITLE, RENAME, RENAME_BACK, SmallSystem, a_running_system, wait_until
from tests.nursery import Child, Nursery
from tests.systems import without_prefect
from tests.watched import alerts_of

# A release in a process of its own takes its time on a busy machine.
pytestmark = pytest.mark.timeout(600)

SLEEP_IN_PRODUCTION = "SELECT pg_sleep(CASE WHEN current_database() LIKE 'shop%' THEN 2 ELSE 0 END);\n"
ASLEEP = "SELECT pid FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = current_database()"
RUNNER_KEY = int.from_bytes(b"golive", "big")


@pytest.fixture
def shop(pg_server: RunningServer) -> Iterator[SmallSystem]:
    """A system that v1 serves."""
    with a_running_system(pg_server) as system:
        yield system


def killed_phase(shop: SmallSystem, nursery: Nursery, step: str) -> str:
    """Deploy v2 in a process that is killed as it begins a step, and return the id of its record."""
    assert nursery.run("deploy", [f"before {step}"], system="shop", version="v2")
    return str(shop.latest().id)


def migrating(shop: SmallSystem, child: Child) -> str:
    """Wait until a process migrates production, and return the id of its release."""
    wait_until(lambda: shop.sql(ASLEEP) or not child.alive, 240)
    assert child.alive, child.said[-3000:]
    return str(shop.latest().id)


def test_a_rollback_waits_for_the_migration_that_another_process_is_running(
    shop: SmallSystem, nursery: Nursery
) -> None:
    shop.add_version(
        "v2", query=ON_TITLE, up={"1_rename": SLEEP_IN_PRODUCTION + RENAME}, down={"1_rename": RENAME_BACK}
    )
    before = shop.content()["columns"]
    with nursery.running("release", system="shop", version="v2") as child:
        release = migrating(shop, child)
        assert shop.rollback(reason="not today", release=release) == "v1"
        assert child.wait() == 1
    assert "Fenced" in child.said
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


def test_a_phase_alone_that_was_killed_in_production_is_taken_back(shop: SmallSystem, nursery: Nursery) -> None:
    shop.add_version("v2")
    release = killed_phase(shop, nursery, "start v2")
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


def test_a_person_accepts_what_a_killed_phase_has_done(
    shop: SmallSystem, nursery: Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the old version cannot be stopped: that is told, and changes nothing of the decision."""
    from tasks.domain.errors import Unreachable
    from tasks.release import accept
    from tasks.rollouts.recreate import Recreate

    shop.add_version("v2")
    release = killed_phase(shop, nursery, "confirm which version serves")

    def away(*_: object) -> str:
        raise Unreachable("the platform cannot be asked")

    with monkeypatch.context() as patched, without_prefect():
        patched.setattr(Recreate, "serving", away)
        assert accept(release, person_name="bob", reason="it serves") == "accepted by bob: it serves"
    row = shop.ledger.releases.get(release)
    assert (row.state, row.verdict, row.holder, shop.serving()) == (State.STABLE, "accepted", "", "v2")
    assert any("the platform cannot be asked" in text for text in alerts_of(shop, release))
    with pytest.raises(Refused, match="is stable"), without_prefect():
        accept(release, person_name="bob", reason="once more")


def test_a_process_that_slept_before_it_migrated_leaves_the_schema_as_the_rollback_left_it(
    shop: SmallSystem, nursery: Nursery
) -> None:
    shop.add_version("v2", query=ON_TITLE, up={"1_rename": RENAME}, down={"1_rename": RENAME_BACK})
    before = shop.content()
    with nursery.running("release", ["sleep before migrate production"], system="shop", version="v2") as child:
        wait_until(lambda: child.asleep or not child.alive, 240)
        assert child.alive, child.said[-3000:]
        # It has not been heard of for more than a minute, so nobody waits for it any more.
        shop.sql_in_ledger("UPDATE release SET holder_seen = holder_seen - interval '2 minutes'")
        assert shop.rollback(reason="not today") == "v1"
        os.kill(child.pid, signal.SIGCONT)
        assert child.wait() == 1
    assert "Fenced" in child.said
    assert (shop.content(), shop.serving(), shop.latest().state) == (before, "v1", State.ROLLED_BACK)
    assert shop.sql("SELECT release, epoch FROM golive_fence.golive_fence")[0]["epoch"] == shop.latest().epoch


def test_a_file_that_was_killed_midway_is_taken_back(shop: SmallSystem, nursery: Nursery) -> None:
    """What it has done already would be no part of any rehearsed way back, if it counted as not applied."""
    half = "-- golive: no transaction\nALTER TABLE item ADD COLUMN IF NOT EXISTS colour text;\n"
    up = half + SLEEP_IN_PRODUCTION
    shop.add_version("v2", up={"1_grow": up}, down={"1_grow": "ALTER TABLE item DROP COLUMN IF EXISTS colour;\n"})
    before = shop.content()["columns"]
    with nursery.running("release", system="shop", version="v2") as child:
        migrating(shop, child)
    assert shop.content()["columns"] != before
    assert shop.rollback(reason="its process died") == "v1"
    assert (shop.content()["columns"], shop.latest().state) == (before, State.ROLLED_BACK)
