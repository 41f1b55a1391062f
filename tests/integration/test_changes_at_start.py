"""Services that change their schema when they start: what the rehearsal makes of it, and the migration by a start."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tasks.domain.errors import GoliveError, RehearsalFailed
from tasks.platforms import Instance
from tests.flows import GROW, ON_TITLE, RENAME, RENAME_BACK, SmallSystem

GROWN = "ALTER TABLE item ADD COLUMN IF NOT EXISTS colour text"
RENAMED = """
DO $$ BEGIN IF EXISTS (SELECT FROM information_schema.columns WHERE table_name = 'item' AND column_name = 'name')
THEN ALTER TABLE item RENAME COLUMN name TO title; PERFORM pg_sleep(0.3); END IF; END $$
"""


@pytest.fixture
def shop(shop: SmallSystem) -> Iterator[SmallSystem]:
    """The system that v1 serves, with the schema that it has by default."""
    yield shop
    shop.sql("ALTER TABLE item DROP COLUMN IF EXISTS colour")
    shop.sql("DROP TABLE IF EXISTS day_1, golive_migrations")
    shop.sql("DROP SCHEMA IF EXISTS golive_fence CASCADE")


def rehearsed(shop: SmallSystem) -> Any:
    return shop.ledger.evidence.rehearsal(shop.latest().id)


def test_a_version_that_migrates_itself_unasked_is_stopped_in_the_rehearsal(shop):
    shop.add_version("v2-unasked", at_start=GROWN)
    with shop.untouched(), pytest.raises(RehearsalFailed, match="v2-unasked changes the schema when it") as caught:
        shop.phase("rehearse", "v2-unasked")
    assert "+    colour text" in caught.value.seen
    assert "kind: at_start" in caught.value.do
    assert "a-service-that-migrates-itself" in caught.value.do
    assert shop.latest().state == "stopped"


def test_what_a_start_may_change_is_told_if_the_old_version_holds_there(shop):
    shop.write({"rehearsal": {"changes_at_start": "tell"}})
    shop.add_version("v2-told", at_start=GROWN)
    shop.phase("rehearse", "v2-told")
    found = rehearsed(shop)
    assert (found.plan, found.detail["why"]) == ("keep", "the old version passed its checks on the new schema")
    assert "+    colour text" in found.detail["versions"]["changed_at_start"]
    shop.add_version("v2-breaks", query=ON_TITLE, at_start=RENAMED)
    with shop.untouched(), pytest.raises(RehearsalFailed, match="and v1 does not hold there: not passed: items can be"):
        shop.phase("rehearse", "v2-breaks")


def test_what_the_old_version_does_at_each_start_is_no_change_and_what_it_does_to_a_new_schema_alone_is(shop):
    """It would pass its checks on an empty column made anew, and a rollback would keep a schema that it has spoilt."""
    day = "CREATE TABLE IF NOT EXISTS day_1 (id integer); "
    shop.add_version("v1-makes", at_start=day + "ALTER TABLE item ADD COLUMN IF NOT EXISTS name text")
    shop.add_version("v2-daily", at_start=day, up={"1_grow": GROW})
    shop.add_version("v2-renames", query=ON_TITLE, up={"1_rename": RENAME}, down={"1_rename": RENAME_BACK})
    shop.phase("deploy", "v1-makes")
    shop.sql("DROP TABLE day_1")  # as after midnight
    try:
        shop.phase("rehearse", "v2-daily")
        daily = rehearsed(shop)
        shop.phase("rehearse", "v2-renames")
        renaming = rehearsed(shop)
    finally:
        shop.phase("deploy", "v1")
    assert (daily.plan, "changed_at_start" in daily.detail["versions"]) == ("keep", False)
    assert renaming.plan == "downgrade"
    assert "v1-makes changes the schema when it starts" in renaming.detail["versions"]["why"]


def test_what_a_request_changes_is_held_against_neither_version(shop):
    shop.sql(
        "CREATE FUNCTION lazily() RETURNS text LANGUAGE plpgsql AS "
        "'BEGIN CREATE TABLE IF NOT EXISTS day_1 (id integer); RETURN 1; END'"
    )
    shop.add_version("v2-lazy", query="SELECT 1, lazily()", up={"1_grow": GROW})
    try:
        shop.phase("rehearse", "v2-lazy")
    finally:
        shop.sql("DROP FUNCTION lazily")
    assert rehearsed(shop).plan == "keep"
    assert "+ table day_1" in rehearsed(shop).detail["versions"]["changed_while_asked"]


def test_a_service_that_migrates_itself_is_rehearsed_measured_migrated_ahead_and_comes_back(shop):
    shop.write({"migration": {"kind": "at_start", "limits": {"duration": "10s", "lock": "5s"}}})
    shop.add_version("v2-itself", at_start=GROWN + "; SELECT pg_sleep(0.3)")
    assert "live" in shop.release("v2-itself")
    found = rehearsed(shop)
    assert (found.plan, found.detail["pending"]) == ("keep", ["the start of v2-itself"])
    (lock,) = [one for one in found.detail["upgrade"]["locks"] if one["mode"] == "AccessExclusiveLock"]
    assert (lock["relation"], lock["held"] > 0.2) == ("public.item", True)
    phases = [phase for phase, name, event in shop.steps() if (name, event) == ("migrate production", "done")]
    assert phases == ["migrate"]
    assert shop.serving() == "v2-itself"
    assert "colour" in str(shop.content()["columns"])
    assert "golive_starts" not in str(shop.content()["tables"])
    assert shop.rollback(reason="enough") == "v1"
    assert shop.serving() == "v1"


def test_a_start_is_measured_against_the_limits_and_its_way_back_is_a_restore_where_the_old_version_breaks(shop):
    shop.write({"migration": {"kind": "at_start", "limits": {"duration": "10s", "lock": "5s"}}})
    shop.add_version("v2-long", query=ON_TITLE, at_start=RENAMED)
    shop.phase("rehearse", "v2-long")
    assert rehearsed(shop).plan == "restore"
    shop.write({"migration.limits.lock": "200ms"})
    with shop.untouched(), pytest.raises(RehearsalFailed, match=r"public.item was locked in AccessExclusiveLock"):
        shop.phase("rehearse", "v2-long")


def test_a_start_that_is_broken_off_in_production_was_begun_and_leaves_nothing_running(shop):
    shop.write({"migration": {"kind": "at_start", "limits": {"duration": "3s", "lock": "5s"}}})
    shop.add_version("v2-stuck", fault="never_ready", at_start=GROWN)
    from tasks.context import production, world
    from tasks.settings import Settings
    from tasks.spec.loading import load

    file = load(shop.path)
    target = production(file, Settings.from_environment(), world(), "v2-stuck")
    shop.phase("preflight", "v2-stuck")
    with pytest.raises(GoliveError, match="not ready within 3 s"):
        file.migration.upgrade(target)
    assert list(file.migration.begun(target)) == ["the start of v2-stuck"]
    assert file.platform.status(target, "migration").running.value == "down"
    port = target.world.host.free_port()
    file.platform.start(target, Instance("migration", "v2-stuck", target.release_dir, port, target.dsn))
    file.migration.clear(target)  # as a rollback does, after a process that was killed in its midst
    assert file.platform.status(target, "migration").running.value == "down"
    assert shop.serving() == "v1"
